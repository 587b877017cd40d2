// Whole structures built bottom up, each block written once. format.md: "B-tree", "Array", "Space
// map". For metadata written in one go onto a device of its own; what changes metadata in place is
// something else.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "persistent-data/block_writer.h"

namespace dmcache {

using btree_entries = std::vector<std::pair<std::uint64_t, std::uint64_t>>; // keys ascend

// A tree of values of `value_size` bytes (4 or 8); its root. Entries are spread evenly, so that no
// node is nearly empty.
metadata_block build_btree(block_writer &out, std::size_t value_size, btree_entries entries);

// Stores entries `first`, first + 1, … into `values`, which is a whole number of them.
using fill_entries = std::function<void(std::uint64_t first, std::span<std::byte> values)>;

// An array of `nr_entries` entries of `value_size` bytes; its root.
metadata_block build_array(block_writer &out, std::size_t value_size, std::uint64_t nr_entries,
                           const fill_entries &fill);

// How many blocks build_array() writes.
std::uint64_t blocks_of_array(std::size_t value_size, std::uint64_t nr_entries);

// The space map of a device of `nr_blocks`, in which its own blocks and those that `is_used` says
// are used once, and all others are free.
space_map_root build_space_map(block_writer &out, std::uint64_t nr_blocks,
                               const std::function<bool(std::uint64_t block)> &is_used);

// How many blocks build_space_map() writes.
std::uint64_t blocks_of_space_map(std::uint64_t nr_blocks);

} // namespace dmcache
