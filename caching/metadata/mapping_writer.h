// The mappings with their dirty state, written as mapping_reader.h reads them: whole and bottom up
// onto a device of their own, or changed by copy on write. Here, and nowhere else, the two versions
// of the format meet when they are written: nothing above knows which one it writes.
// persistent-data/format.md: "Array", "Bitset".
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "base/units.h"
#include "caching/metadata/mapping_format.h"
#include "caching/metadata/superblock.h"
#include "persistent-data/array.h"
#include "persistent-data/block_writer.h"

namespace dmcache {

// How many 64-bit words a bitset of so many bits has.
constexpr std::uint64_t words_for(std::uint64_t nr_bits) {
  return divided_up(nr_bits, bits_per_word);
}

struct whole_mappings {
  std::span<const mapping_entry> entries;     // by cache block, without dirty flags
  std::span<const std::uint64_t> dirty_words; // of a bitset by cache block
};

// Writes all mappings of `block`, and makes its roots theirs.
void build_mappings(block_writer &out, superblock &block, const whole_mappings &from);

// How many blocks build_mappings() writes.
std::uint64_t blocks_of_mappings(const superblock &block);

// Changes mappings by copy on write. A part is an array block. Parts are written whole, and nothing
// but tree nodes is ever read.
class mapping_writer {
 public:
  struct entry {
    bool is_mapped;
    origin_block origin; // if mapped
    bool is_dirty;
  };
  // Says what is to be written of a cache block.
  using source = std::function<entry(cache_block)>;

  // Writes the mappings of the metadata that `block` describes, and keeps its roots and its size up
  // to date. Manager and superblock must outlive this.
  mapping_writer(transaction_manager &in, superblock &block, source from);

  // Begins new metadata, without cache blocks.
  result<> create();
  // Reads all nodes. Nothing is read from then on.
  result<> load_trees();
  // Changes the number of cache blocks, and writes the parts that this adds, or makes longer or
  // shorter.
  result<> resize(std::uint32_t nr_cache_blocks);

  static std::uint64_t part_of(cache_block block);
  std::uint64_t nr_parts() const;
  result<> write_part(std::uint64_t part);

  // The parts that keep the dirty state. It counts after a clean shutdown only, and needn't be
  // right before.
  std::uint64_t dirty_part_of(cache_block block) const;
  std::uint64_t nr_dirty_parts() const;
  result<> write_dirty_part(std::uint64_t part);

 private:
  result<> write_dirty_bits(std::uint64_t part);

  superblock &block_;
  source from_;
  array entries_;
};

} // namespace dmcache
