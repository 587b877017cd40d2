// How large a metadata device a cache needs.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "base/units.h"

namespace dmcache {

// Room for mappings, hints and transactions, as thin-provisioning-tools has always estimated it; at
// most what the format can use.
sectors estimate_metadata_size(std::uint64_t nr_cache_blocks, std::uint32_t hint_width);

// Less than this can't hold the metadata of a cache whose blocks are all mapped, twice over, as a change
// of them needs for a while.
bytes smallest_metadata_size(std::uint64_t nr_cache_blocks);

// What to do about metadata that are too large for their device: "restore them to one of 4128 KiB or
// more: ...". Of a device that was enlarged they use only what there was when they were made.
std::string way_to_larger_metadata(std::uint64_t nr_cache_blocks);

// Should somebody look for a larger device? Both in metadata blocks.
inline bool is_nearly_full(std::uint64_t nr_used, std::uint64_t nr_blocks) {
  constexpr std::uint64_t percent_to_warn_at = 80;
  return nr_used * 100 > nr_blocks * percent_to_warn_at;
}

// How many cache blocks of `block_size` a fast device of `device_size` has, a last partial one
// counted. Fails with failure::usage if the kernel would refuse the block size.
result<std::uint64_t> count_cache_blocks(bytes device_size, bytes block_size);

} // namespace dmcache
