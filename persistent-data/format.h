// The on-disk structures of the kernel's persistent-data library; format.md beside this file
// explains them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "base/little_endian.h"
#include "base/units.h"

namespace dmcache {

inline constexpr std::size_t metadata_block_size = 4096;

constexpr bytes offset_of(metadata_block block) {
  return bytes{block.value() * metadata_block_size};
}

// Where whoever keeps structures on a device has the root of all of them.
inline constexpr metadata_block superblock_location{0};

// What tells one type of block from another: the constant folded into its checksum, and where its
// own number stands. Both are verified before anything else in a block is believed.
struct block_type {
  std::uint32_t checksum_xor;
  std::size_t number_offset;
};

inline constexpr block_type btree_node_type{121107, 8};
inline constexpr block_type array_block_type{595846735, 16};
inline constexpr block_type space_map_index_type{160478, 8};
inline constexpr block_type space_map_bitmap_type{240779, 8};

struct btree_node_header {
  static constexpr std::uint32_t internal = 1;
  static constexpr std::uint32_t leaf = 2;

  le32 checksum;
  le32 flags; // internal or leaf
  le64 block_number;
  le32 nr_entries;
  le32 max_entries;
  le32 value_size;
  le32 padding;
  // max_entries keys (le64), then max_entries values
};
static_assert(sizeof(btree_node_header) == 32);
static_assert(offsetof(btree_node_header, block_number) == btree_node_type.number_offset);

// How many entries a node of values of `value_size` bytes has room for.
constexpr std::uint32_t btree_max_entries(std::size_t value_size) {
  const auto fit = (metadata_block_size - sizeof(btree_node_header)) / (8 + value_size);
  return static_cast<std::uint32_t>(fit / 3 * 3);
}
static_assert(btree_max_entries(8) == 252);
static_assert(btree_max_entries(4) == 336);

struct array_block_header {
  le32 checksum;
  le32 max_entries;
  le32 nr_entries;
  le32 value_size;
  le64 block_number;
  // nr_entries values
};
static_assert(sizeof(array_block_header) == 24);
static_assert(offsetof(array_block_header, block_number) == array_block_type.number_offset);

constexpr std::uint32_t array_max_entries(std::size_t value_size) {
  return static_cast<std::uint32_t>((metadata_block_size - sizeof(array_block_header)) /
                                    value_size);
}
static_assert(array_max_entries(8) == 509);
static_assert(array_max_entries(4) == 1018);

// A bitset is an array of these.
inline constexpr std::uint64_t bits_per_word = 64;

// The first bytes of the superblock's space map root.
struct space_map_root {
  le64 nr_blocks;
  le64 nr_allocated;
  le64 bitmap_root; // the index block
  le64 ref_count_root;
};
static_assert(sizeof(space_map_root) == 32);

struct space_map_index_entry {
  le64 bitmap_block;
  le32 nr_free;
  le32 none_free_before;
};
static_assert(sizeof(space_map_index_entry) == 16);

struct space_map_index {
  static constexpr std::size_t max_bitmaps = 255;

  le32 checksum;
  le32 padding;
  le64 block_number;
  std::array<space_map_index_entry, max_bitmaps> entries;
};
static_assert(sizeof(space_map_index) == metadata_block_size);
static_assert(offsetof(space_map_index, block_number) == space_map_index_type.number_offset);

struct space_map_bitmap {
  static constexpr std::uint64_t entries_per_block = 16320;

  le32 checksum;
  le32 unused;
  le64 block_number;
  std::array<std::uint8_t, entries_per_block / 4> entries;

  // 0, 1 or 2; 3 stands for "in the reference count tree". The pair's first bit is the high one.
  std::uint32_t count(std::uint64_t entry) const {
    const auto pair = static_cast<std::uint32_t>(entries.at(entry / 4)) >> (entry % 4 * 2);
    return (pair & 1) * 2 + (pair >> 1 & 1);
  }

  // Counts one user of an entry that had none.
  void count_first(std::uint64_t entry) {
    constexpr unsigned low = 2;
    entries.at(entry / 4) |= static_cast<std::uint8_t>(low << entry % 4 * 2);
  }
};
static_assert(sizeof(space_map_bitmap) == metadata_block_size);
static_assert(offsetof(space_map_bitmap, block_number) == space_map_bitmap_type.number_offset);
inline constexpr std::uint64_t blocks_per_bitmap = space_map_bitmap::entries_per_block;

inline constexpr std::uint32_t in_ref_count_tree = 3;

// A larger device is used up to here.
inline constexpr std::uint64_t max_metadata_blocks =
    space_map_index::max_bitmaps * blocks_per_bitmap;
static_assert(max_metadata_blocks == 4161600);

} // namespace dmcache
