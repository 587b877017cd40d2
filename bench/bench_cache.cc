#include "bench/bench_cache.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <random>
#include <ranges>
#include <system_error>

#include <fmt/format.h>

#include "base/file_device.h"
#include "bench/io_loops.h"
#include "caching/runtime/file_runtime.h"
#include "caching/tools/restore.h"

namespace dmcache {
namespace {

constexpr std::uint64_t nr_used = 65536;
constexpr std::uint64_t metadata_size = 128 << 20;

// A new file of that size, in which `length` bytes are written at each of `offsets`.
class new_file {
 public:
  new_file(const std::string &path, std::uint64_t size)
      : path_{path}, file_{::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)} {
    is_good_ = file_.is_open() && ::ftruncate(file_.get(), static_cast<off_t>(size)) == 0;
  }

  void fill(std::span<const std::uint64_t> offsets, std::size_t length) {
    const std::vector<char> data(length, 'x');
    for (const std::uint64_t offset : offsets) {
      is_good_ = is_good_ && ::pwrite(file_.get(), data.data(), length,
                                      static_cast<off_t>(offset)) == static_cast<ssize_t>(length);
    }
  }
  void fill(std::uint64_t begin, std::uint64_t end, char with) {
    const std::vector<char> data(bench_cache::block_size, with);
    for (; begin < end; begin += data.size()) {
      is_good_ =
          is_good_ && ::pwrite(file_.get(), data.data(), data.size(), static_cast<off_t>(begin)) ==
                          static_cast<ssize_t>(data.size());
    }
  }
  result<> finish() {
    is_good_ = is_good_ && ::fsync(file_.get()) == 0;
    return is_good_ ? result<>{}
                    : fail(failure::environment,
                           fmt::format("{}: {}", path_, std::generic_category().message(errno)));
  }

 private:
  std::string path_;
  file_descriptor file_;
  bool is_good_ = false;
};

std::string document(const std::vector<std::uint32_t> &origin_blocks) {
  std::string text =
      fmt::format("<superblock uuid=\"\" block_size=\"{}\" nr_cache_blocks=\"{}\" policy=\"sift\" "
                  "hint_width=\"4\">\n<mappings>\n",
                  bench_cache::block_size / sector_size, bench_cache::nr_cache_blocks);
  for (std::size_t i = 0; i < bench_cache::nr_loaded; ++i) {
    fmt::format_to(std::back_inserter(text),
                   "<mapping cache_block=\"{}\" origin_block=\"{}\" dirty=\"false\"/>\n", i,
                   origin_blocks[i]);
  }
  return text + "</mappings>\n</superblock>\n";
}

} // namespace

bench_cache::bench_cache(const std::string &folder)
    : paths_{folder + "/metadata", folder + "/fast", folder + "/origin"},
      origin_blocks_(nr_origin_blocks) {
  std::mt19937_64 chance{1};
  std::ranges::copy(std::views::iota(std::uint64_t{0}, nr_origin_blocks), origin_blocks_.begin());
  std::ranges::shuffle(origin_blocks_, chance);
  std::vector<std::uint32_t> cache_blocks(nr_loaded);
  std::ranges::copy(std::views::iota(0U, unsigned{nr_loaded}), cache_blocks.begin());
  std::ranges::shuffle(cache_blocks, chance);
  for (std::uint64_t i = 0; i < nr_used; ++i) {
    fast_offsets_.push_back(cache_blocks[i] * block_size);
    origin_offsets_.push_back(origin_blocks_[cache_blocks[i]] * block_size);
  }
  for (std::uint64_t i = nr_loaded; i < nr_cache_blocks; ++i) {
    uncached_offsets_.push_back(origin_blocks_[i] * block_size);
  }
}

result<> bench_cache::prepare() const {
  for (const auto part :
       {&bench_cache::fill_fast, &bench_cache::fill_origin, &bench_cache::make_metadata}) {
    if (auto made = (this->*part)(); !made) {
      return made;
    }
  }
  return {};
}

result<> bench_cache::fill_fast() const {
  new_file fast{paths_.fast.path, nr_cache_blocks * block_size};
  fast.fill(fast_offsets_, io_size);
  fast.fill(std::span{fast_offsets_}.first(nr_to_write_back), block_size);
  fast.fill(nr_loaded * block_size, nr_cache_blocks * block_size, 'x');
  return fast.finish();
}

result<> bench_cache::fill_origin() const {
  new_file origin{paths_.origin.path, nr_origin_blocks * block_size};
  origin.fill(std::span{origin_offsets_}.first(nr_to_write_back), block_size);
  return origin.finish();
}

// The metadata are what a cache in use leaves behind, with the hints of its policy.
result<> bench_cache::make_metadata() const {
  new_file file{paths_.metadata.path, metadata_size};
  file.fill(0, metadata_size, 0);
  if (auto made = file.finish(); !made) {
    return made;
  }
  auto device = open_file_device(paths_.metadata.path, access::read_write);
  if (!device) {
    return std::unexpected{device.error()};
  }
  const std::string text = document(origin_blocks_);
  std::size_t taken = 0;
  const auto read_some = [&](std::span<char> into) -> result<std::size_t> {
    const std::size_t count = std::min(into.size(), text.size() - taken);
    std::copy_n(text.data() + taken, count, into.data());
    taken += count;
    return count;
  };
  const auto contents = read_document(read_some, (*device)->size(), {});
  if (!contents) {
    return std::unexpected{contents.error()};
  }
  report quiet{"bench_engine", true};
  if (auto restored = restore(**contents, **device, {}, quiet); !restored) {
    return restored;
  }
  device->reset();
  auto opened = file_runtime::open(paths_, {}, [](request &) {});
  return opened ? (*opened)->close() : std::unexpected{opened.error()};
}

} // namespace dmcache
