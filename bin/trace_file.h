// A trace of requests, as cache_replay reads it: lines "time,op,lba,size", compressed with gzip.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <zlib.h>

#include "base/output_file.h"
#include "base/result.h"

namespace dmcache {

class trace_file {
 public:
  // The path "-" is standard output; a regular file appears under its name by commit(). Fails with
  // failure::environment, also if something else than a recording has that name.
  static result<trace_file> create(const std::string &path);

  // Adds a line, which is given without its end.
  result<> add(std::string_view line);
  // How large the file is, in bytes, but for the last lines.
  std::uint64_t size() const { return taken_ + filled_; }
  result<> commit();

 private:
  struct ended {
    void operator()(z_stream *stream) const {
      ::deflateEnd(stream);
      delete stream; // NOLINT: this is what owns it
    }
  };

  trace_file(output_file file, std::unique_ptr<z_stream, ended> stream)
      : file_{std::move(file)}, stream_{std::move(stream)} {}

  result<> compress(std::string_view text, int flush);

  output_file file_;
  std::unique_ptr<z_stream, ended> stream_; // which knows its own address
  std::size_t filled_ = 0;                  // of the file's buffer
  std::uint64_t taken_ = 0;                 // bytes, of the buffers before
};

} // namespace dmcache
