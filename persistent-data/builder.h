// Whole structures built bottom up, each block written once. format.md: "B-tree", "Array", "Space
// map". This is for metadata that are written in one go onto a device of their own; btree.h and
// array.h change metadata that are in use.
#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "persistent-data/block_writer.h"

namespace dmcache {

using btree_entries = std::vector<std::pair<std::uint64_t, std::uint64_t>>; // keys ascend

// Writes a tree of values of `value_size` bytes (4 or 8) and returns its root. Entries are spread
// evenly, so that no node is nearly empty.
metadata_block build_btree(block_writer &out, std::size_t value_size, btree_entries entries);

// Stores entries `first`, first + 1, … into `values`, which is a whole number of them.
using fill_entries = std::function<void(std::uint64_t first, std::span<std::byte> values)>;

// Fills an array of 64-bit values with what `value_at` says of each, which is asked in order.
template <typename ValueAt> fill_entries values_from(ValueAt value_at) {
  return [value_at](std::uint64_t first, std::span<std::byte> values) mutable {
    for (std::size_t at = 0; at < values.size(); at += sizeof(le64), ++first) {
      const le64 stored = value_at(first);
      std::memcpy(values.data() + at, &stored, sizeof stored);
    }
  };
}

// Writes an array of `nr_entries` entries of `value_size` bytes and returns its root.
metadata_block build_array(block_writer &out, std::size_t value_size, std::uint64_t nr_entries,
                           const fill_entries &fill);

// How many blocks build_array() writes.
std::uint64_t blocks_of_array(std::size_t value_size, std::uint64_t nr_entries);

// Writes the space map of a device of `nr_blocks`: it counts one use of its own blocks, and of
// those that `is_used` says; all others are free.
space_map_root build_space_map(block_writer &out, std::uint64_t nr_blocks,
                               const std::function<bool(std::uint64_t block)> &is_used);

// How many blocks build_space_map() writes.
std::uint64_t blocks_of_space_map(std::uint64_t nr_blocks);

} // namespace dmcache
