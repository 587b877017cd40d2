// The lines of a text file that may be compressed with gzip, in bounded memory.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <zlib.h>

#include "base/progress.h"
#include "base/result.h"

namespace dmcache {

class trace_lines {
 public:
  static constexpr std::size_t max_line = 4096; // bytes

  // The path "-" is standard input. Shows on `watcher`, which must outlive this, how far it has come.
  // Fails with failure::environment.
  static result<trace_lines> open(const std::string &path, progress &watcher);

  // As much of the file's beginning as is looked at to tell what it is. Before the first next().
  result<std::string_view> beginning();

  // The next line without its end, for as long as this isn't called again; none at the end of the
  // file. Fails with failure::failed if a line is too long or compressed data break off or are
  // damaged, and with failure::environment if the file can't be read.
  result<std::optional<std::string_view>> next();

  std::uint64_t number() const { return number_; } // of the last line, from 1
  const std::string &name() const { return name_; }

 private:
  struct close {
    void operator()(gzFile file) const { ::gzclose(file); }
  };
  using opened = std::unique_ptr<std::remove_pointer_t<gzFile>, close>;

  trace_lines(std::string name, opened file, progress &watcher);

  result<> fill();
  result<> broken_off();

  std::string name_;
  opened file_;
  progress *watcher_;
  std::vector<char> buffer_;
  std::size_t begin_ = 0; // of what is in the buffer and was not handed out yet
  std::size_t end_ = 0;
  bool is_at_end_ = false;
  std::uint64_t number_ = 0;
  std::uint64_t shown_ = 0; // bytes of the file that `watcher_` has heard of
};

} // namespace dmcache
