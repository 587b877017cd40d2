// Array blocks of the mappings that a broken tree doesn't lead to any more.
//
// An array block doesn't say which part of the array it is. Where the tree is broken, that is found
// in leaves that have lost their parent, or in earlier versions of the lost ones, which copy on
// write leaves behind; and if a block has been rewritten since, by what it has in common with its
// earlier version, or if it is the only one of its size. Whether a block is in force at all, and
// not left behind itself, is told by the space map: the found ones count as in force only if it and
// all other structures are sound, and together they account for every block that it counts as used.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "base/device.h"
#include "base/progress.h"
#include "caching/metadata/superblock.h"

namespace dmcache {

struct found_mappings {
  // The numbers of parts, which ascend, each with the block that the part stands in.
  using parts = std::vector<std::pair<std::uint64_t, std::uint64_t>>;

  parts in_force;                     // those that the tree leads to, and those found
  std::uint64_t nr_found = 0;         // of these, not by way of the tree
  std::optional<metadata_block> room; // where tree_room() blocks are free for a new tree
  parts older; // for parts that can't be read: earlier versions, or what isn't proven
};

// How many blocks a tree of `nr_parts` entries needs at most.
constexpr std::uint64_t tree_room(std::uint64_t nr_parts) {
  return nr_parts / (btree_max_entries(sizeof(le64)) / 2) + 8; // half full, and some levels
}

// Searches `from` for the parts of the array of `block.mapping_root`.
found_mappings search_mappings(device &from, const superblock &block, progress &watcher);

} // namespace dmcache
