#include "bin/trace_file.h"

#include <utility>

#include "base/assert.h"

namespace dmcache {

result<trace_file> trace_file::create(const std::string &path) {
  constexpr int gzip_with_largest_window = 16 + MAX_WBITS;
  constexpr int usual_memory = 8;
  auto file = output_file::create(path);
  if (!file) {
    return std::unexpected{file.error()};
  }
  auto stream = std::make_unique<z_stream>();
  if (::deflateInit2(stream.get(), Z_DEFAULT_COMPRESSION, Z_DEFLATED, gzip_with_largest_window,
                     usual_memory, Z_DEFAULT_STRATEGY) != Z_OK) {
    return fail(failure::environment, "there is no memory to compress what is recorded");
  }
  trace_file made{std::move(*file), std::unique_ptr<z_stream, ended>{stream.release()}};
  if (auto begun = made.add("time,op,lba,size"); !begun) {
    return std::unexpected{begun.error()};
  }
  return made;
}

result<> trace_file::add(std::string_view line) {
  auto added = compress(line, Z_NO_FLUSH);
  return added ? compress("\n", Z_NO_FLUSH) : added;
}

// zlib is done with the text, and with a flush, when it leaves room in the buffer.
result<> trace_file::compress(std::string_view text, int flush) {
  stream_->next_in =
      reinterpret_cast<Bytef *>(const_cast<char *>(text.data())); // NOLINT: as zlib wants
  stream_->avail_in = static_cast<uInt>(text.size());
  for (bool is_done = false; !is_done;) {
    const auto room = file_.buffer().subspan(filled_);
    stream_->next_out = reinterpret_cast<Bytef *>(room.data()); // NOLINT: as zlib wants
    stream_->avail_out = static_cast<uInt>(room.size());
    const int outcome = ::deflate(stream_.get(), flush);
    require(outcome != Z_STREAM_ERROR, "zlib is used as it is meant to be");
    filled_ += room.size() - stream_->avail_out;
    is_done = stream_->avail_out != 0;
    if (!is_done) {
      taken_ += std::exchange(filled_, 0);
      if (auto taken = file_.take(file_.buffer().size()); !taken) {
        return taken;
      }
    }
  }
  return {};
}

result<> trace_file::commit() {
  if (auto rest = compress("", Z_FINISH); !rest) {
    return rest;
  }
  if (auto taken = file_.take(filled_); !taken) {
    return taken;
  }
  return file_.commit();
}

} // namespace dmcache
