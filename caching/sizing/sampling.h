// Which blocks stand for all. A block is a sample if its hash is at most some limit; so it is one at all
// of its touches or at none, and the share of blocks that are samples is known from the limit alone.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "base/units.h"

namespace dmcache {

// No two blocks have the same hash, so it stands for the block. Every request pays for this: it is
// nothing but a multiplication, whose upper bits say whether the block is a sample.
constexpr std::uint64_t sampling_hash(origin_block block) {
  return block.value() * 0xd6e8feb86659fd93;
}

// What a sample is known by. There are never more than a few thousand of them.
using sample_number = std::uint16_t;

inline constexpr std::uint64_t every_hash = std::numeric_limits<std::uint64_t>::max();

// The share of all blocks that are samples with this limit.
inline double share_of_samples(std::uint64_t largest_hash) {
  constexpr int hash_bits = 64;
  return std::ldexp(static_cast<double>(largest_hash), -hash_bits);
}

// The limit for that share, which is at most 1.
inline std::uint64_t largest_hash_for(double share) {
  constexpr int hash_bits = 64;
  return share >= 1 ? every_hash : static_cast<std::uint64_t>(std::ldexp(share, hash_bits));
}

} // namespace dmcache
