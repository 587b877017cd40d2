// Finds the parts of the origin that hold nothing, so that a client needn't read them.
//
// A hole in the origin's file is a hole for clients if the cache has no newer data for it. Whoever
// is told of a hole may drop the data, so a range that was written to before must never be told as
// one. It never is:
//  1. When a write is acknowledged, its data are in a mapped cache block or on the origin.
//  2. A block becomes unmapped only when the origin holds what it held.
//  3. So when a block is found not to be mapped, all that was acknowledged before is on the origin.
//     After that only a discard or zeroing by a client makes a hole of it.
//  4. The origin's file is looked at after that moment. The file system knows of all that was
//     written to the file, whether it is on the disk yet or not.
// If the file was looked at first, the block could be written back and demoted before the mapping
// is looked up, and data would be told as a hole.
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

// The extents from `offset` on, with all that isn't cached as a hole. They end at `end`, which is
// within the origin, or before it: others wait for the lock, so only some blocks are looked at.
std::vector<origin_extent> uncached_extents(const cache_state &state, bytes offset, bytes end);

// Keeps only those holes of `uncached`, which begins at `offset`, that are holes in the origin's
// file too. May return extents that cover less.
std::vector<origin_extent> holes_of(const std::vector<origin_extent> &uncached, bytes offset,
                                    const blocking_file &origin);

} // namespace dmcache
