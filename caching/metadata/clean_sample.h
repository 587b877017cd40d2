// Are these the devices that the metadata are about? What is clean is the same on the fast device and
// on the origin, so a sample of it tells: of other devices, of devices that changed places, and of an
// origin that was written to behind the cache's back.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "base/device.h"
#include "base/result.h"
#include "base/units.h"

namespace dmcache {

struct clean_block {
  cache_block cached_in;
  origin_block origin;
};

// At most max_clean_sample clean blocks, spread over the cache. `clean_at` gives the origin block of a
// cache block that is mapped, clean, and wholly comparable: not discarded, for one.
inline constexpr std::uint64_t max_clean_sample = 64;
std::vector<clean_block>
sample_of(std::uint64_t nr_cache_blocks,
          const std::function<std::optional<origin_block>(cache_block)> &clean_at);

struct sampled_devices {
  device &fast;
  device &origin;
  bytes block_size;
};

// Compares a part of each block, and fails with failure::failed, saying how many of how many differ,
// if the devices can't be the right ones. A few blocks that are zero on the origin are no evidence: the
// kernel's target discards there what it keeps in the cache. An I/O error is failure::environment.
result<> check_sample(const sampled_devices &on, const std::vector<clean_block> &sample);

} // namespace dmcache
