// What all replayed caches have in common.
#pragma once

#include <cstdint>

namespace dmcache {

inline constexpr double idle_after = 1; // second without requests

enum class replay_mode : std::uint8_t { writeback, writethrough };

// A request counts once for each block that it touches.
struct replay_counts {
  std::uint64_t nr_hits = 0;
  std::uint64_t nr_misses = 0;
  std::uint64_t nr_promotions = 0;
  std::uint64_t nr_demotions = 0;
  std::uint64_t nr_written_back = 0;
  std::uint64_t written_to_fast = 0; // bytes, of promotions and of write hits
};

} // namespace dmcache
