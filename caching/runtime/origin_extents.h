// Which parts of the origin hold nothing, so that a client needn't read them.
//
// A hole in the origin's file is one of the cache if no newer data are cached for it. To say so of
// a range that was written to before anybody asked would cost a client that data. It can't be:
//  1. When a write is acknowledged, its data are in a mapped cache block or on the origin.
//  2. A block becomes unmapped only when the origin holds what it held.
//  3. So at the moment at which a block is found not to be mapped, all that was acknowledged before
//     is on the origin, where only what a client discards or zeroes later becomes a hole.
//  4. The origin is looked at after that moment, and the file system knows what was written to it,
//     on its disk or not.
// The other way round it would be wrong: while a hole is found and then the block not to be mapped,
// it may have been written back and demoted.
#pragma once

#include <vector>

#include "base/blocking_file.h"
#include "caching/engine/cache_state.h"

namespace dmcache {

struct origin_extent {
  bytes length;
  bool is_hole; // and reads as zeroes

  bool operator==(const origin_extent &) const = default;
};

// From `offset` on, at most to `end`, which is within the origin: a hole is what isn't cached.
// No more blocks than take a moment, since others wait for the lock.
std::vector<origin_extent> uncached_extents(const cache_state &state, bytes offset, bytes end);

// Of those, which were found before, a hole remains what is one on the origin. May cover less.
std::vector<origin_extent> holes_of(const std::vector<origin_extent> &uncached, bytes offset,
                                    const blocking_file &origin);

} // namespace dmcache
