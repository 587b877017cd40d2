// What stands in a sector of simulated data: by which write, and meant for which sector of the
// cache, so that what was lost, comes too late, or goes to the wrong place is told from what is
// right.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>

#include "base/units.h"

namespace dmcache {

// A change of the data, numbered from 1 in the order of submission; 0 stands for the zeroes that a
// new device holds.
using change_id = std::uint32_t;

// All zero: zeroes.
struct stamp {
  std::uint64_t sector = 0;
  std::uint64_t change = 0;

  bool operator==(const stamp &) const = default;
};

// Fills what is stored of a sector, or of a part of one, with its stamp, repeated; the last one may
// be cut off.
inline void put_stamp(std::span<std::byte> stored, const stamp &mark) {
  for (std::size_t at = 0; at < stored.size(); at += sizeof mark) {
    std::memcpy(stored.data() + at, &mark, std::min(sizeof mark, stored.size() - at));
  }
}

// The stamp of what is so filled, and not smaller than one; else one that nobody wrote.
inline stamp stamp_of(std::span<const std::byte> stored) {
  stamp found;
  std::memcpy(&found, stored.data(), sizeof found);
  for (std::size_t at = sizeof found; at < stored.size(); at += sizeof found) {
    if (std::memcmp(stored.data() + at, &found, std::min(sizeof found, stored.size() - at)) != 0) {
      return {~std::uint64_t{0}, ~std::uint64_t{0}};
    }
  }
  return found;
}

} // namespace dmcache
