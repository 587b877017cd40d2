#include "bin/trace_file.h"

#include <array>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "base/assert.h"

namespace dmcache {
namespace {

// A slip of the hand must not replace a device of the very cache that is recorded.
result<> check_that_it_replaces_no_data(const std::string &path) {
  std::error_code ignored;
  const auto there = std::filesystem::status(path, ignored);
  if (std::filesystem::is_block_file(there)) {
    return fail(failure::environment, fmt::format("{} is a block device: name a file", path));
  }
  if (!std::filesystem::is_regular_file(there) || std::filesystem::file_size(path, ignored) == 0) {
    return {};
  }
  constexpr std::array gzip{'\x1f', '\x8b'};
  std::array<char, gzip.size()> begins{};
  std::ifstream{path, std::ios::binary}.read(begins.data(), begins.size());
  if (begins != gzip) {
    return fail(failure::environment,
                fmt::format("{} exists, and is no recording: name another file", path));
  }
  return {};
}

} // namespace

result<trace_file> trace_file::create(const std::string &path) {
  constexpr int gzip_with_largest_window = 16 + MAX_WBITS;
  constexpr int usual_memory = 8;
  if (auto checked = check_that_it_replaces_no_data(path); !checked) {
    return std::unexpected{checked.error()};
  }
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
