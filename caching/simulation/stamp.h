// What stands in a sector of simulated data: by which write, and meant for which sector of the
// cache, so that what was lost, comes too late, or goes to the wrong place is told from what is
// right.
#pragma once

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

inline constexpr std::size_t max_stamps_per_sector = sector_size / sizeof(stamp);

// Fills the sector at `sector` with its stamp, repeated so often.
inline void put_stamp(std::byte *sector, const stamp &mark, std::size_t repeated) {
  for (std::size_t i = 0; i < repeated; ++i) {
    std::memcpy(sector + i * sizeof mark, &mark, sizeof mark);
  }
}

// The stamp of a sector, of which all are the same; else one that nobody wrote.
inline stamp stamp_of(const std::byte *sector, std::size_t repeated) {
  stamp found;
  std::memcpy(&found, sector, sizeof found);
  for (std::size_t i = 1; i < repeated; ++i) {
    if (std::memcmp(sector + i * sizeof found, &found, sizeof found) != 0) {
      return {~std::uint64_t{0}, ~std::uint64_t{0}};
    }
  }
  return found;
}

} // namespace dmcache
