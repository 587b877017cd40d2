#include "caching/metadata/metadata_size.h"

#include <algorithm>

#include <fmt/format.h>

#include "caching/metadata/superblock.h"

namespace dmcache {
namespace {

constexpr std::uint64_t transaction_overhead = 8192;              // sectors
constexpr std::uint64_t mapping_size = 2 * sizeof(std::uint64_t); // bytes a cache block
constexpr std::uint64_t hint_key_size = sizeof(std::uint64_t);    // bytes a cache block
// Superblock, space map and roots of the trees, each twice; and blocks that are changed and wait for a
// commit.
constexpr std::uint64_t fixed_blocks = 32;
constexpr std::uint64_t max_sectors = max_metadata_blocks * (metadata_block_size / sector_size);

} // namespace

sectors estimate_metadata_size(std::uint64_t nr_cache_blocks, std::uint32_t hint_width) {
  const std::uint64_t hint_size = hint_width + hint_key_size;
  if (nr_cache_blocks >= max_sectors * sector_size / (mapping_size + hint_size)) {
    return sectors{max_sectors}; // more than that, and the products below could overflow
  }
  const std::uint64_t size = transaction_overhead + nr_cache_blocks * mapping_size / sector_size +
                             nr_cache_blocks * hint_size / sector_size;
  return sectors{std::min(size, max_sectors)};
}

// The mappings and hints of dense arrays take half of what the estimate has for them.
bytes smallest_metadata_size(std::uint64_t nr_cache_blocks) {
  const sectors estimated = estimate_metadata_size(nr_cache_blocks, sizeof(std::uint32_t));
  return bytes{to_bytes(sectors{estimated.value() - transaction_overhead}).value() +
               fixed_blocks * metadata_block_size};
}

std::string way_to_larger_metadata(std::uint64_t nr_cache_blocks) {
  constexpr std::uint64_t kibibyte = 1024;
  return fmt::format(
      "restore them to one of {} KiB or more (cache_dump -o FILE DEVICE, cache_restore "
      "-i FILE -o LARGER), which is needed, too, if the device itself was enlarged",
      divided_up(smallest_metadata_size(nr_cache_blocks).value(), kibibyte));
}

result<std::uint64_t> count_cache_blocks(bytes device_size, bytes block_size) {
  const std::uint64_t size = block_size.value();
  if (size % sector_size != 0 || !is_legal_data_block_size(size / sector_size)) {
    return fail(failure::usage,
                fmt::format("a block size of {} bytes is not a multiple of 32 KiB from 32 KiB to "
                            "1 GiB",
                            size));
  }
  if (device_size < block_size) {
    return fail(failure::usage, "the device is smaller than one block");
  }
  return divided_up(device_size.value(), size);
}

} // namespace dmcache
