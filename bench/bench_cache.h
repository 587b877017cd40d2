// The cache that the engine is measured on: a million blocks of 32 KiB, loaded with random blocks
// of the origin, and some free ones. The three files are sparse. Only of the blocks that are used
// the first 4 KiB are really there, so that the device has something to do.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "caching/runtime/cache_files.h"

namespace dmcache {

class bench_cache {
 public:
  static constexpr std::uint64_t block_size = 32 << 10;
  static constexpr std::uint64_t nr_loaded = 1000000;
  static constexpr std::uint64_t nr_cache_blocks = nr_loaded + 8000;
  static constexpr std::uint64_t nr_origin_blocks = std::uint64_t{1} << 22;
  // How many of the used blocks can be written back.
  static constexpr std::uint64_t nr_to_write_back = 4000;

  // For each folder prepare() must have been called once.
  explicit bench_cache(const std::string &folder);

  // Makes the files.
  result<> prepare() const;

  const cache_paths &paths() const { return paths_; }
  // Where the used blocks begin on the fast device, and, in the same order, on the origin. Only the
  // first 4 KiB of each are read and written.
  const std::vector<std::uint64_t> &fast_offsets() const { return fast_offsets_; }
  const std::vector<std::uint64_t> &origin_offsets() const { return origin_offsets_; }
  // Where some blocks of the origin begin that are not cached. They are as many as there are free
  // cache blocks.
  const std::vector<std::uint64_t> &uncached_offsets() const { return uncached_offsets_; }

 private:
  result<> make_metadata() const;
  result<> fill_fast() const;
  result<> fill_origin() const;

  cache_paths paths_;
  std::vector<std::uint32_t> origin_blocks_; // by cache block
  std::vector<std::uint64_t> fast_offsets_;
  std::vector<std::uint64_t> origin_offsets_;
  std::vector<std::uint64_t> uncached_offsets_;
};

} // namespace dmcache
