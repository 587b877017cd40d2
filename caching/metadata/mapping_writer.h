// The mappings with their dirty state, changed by copy on write: what mapping_reader.h reads. Here,
// as there, the two versions of the format meet: nothing above knows which one it writes.
// persistent-data/format.md: "Array", "Bitset".
//
// A part is an array block. Parts are written whole, and nothing but tree nodes is ever read.
#pragma once

#include <cstdint>
#include <functional>

#include "base/units.h"
#include "caching/metadata/superblock.h"
#include "persistent-data/array.h"

namespace dmcache {

class mapping_writer {
 public:
  struct entry {
    bool is_mapped;
    origin_block origin; // if mapped
    bool is_dirty;
  };
  // What is to be written of a cache block.
  using source = std::function<entry(cache_block)>;

  // Of the metadata that `block` describes, whose roots and size are kept up to date. All must
  // outlive this.
  mapping_writer(transaction_manager &in, superblock &block, source from);

  // New metadata: no cache blocks.
  result<> create();
  // Reads all nodes. Nothing is read from then on.
  result<> load_trees();
  // Parts that are added, or become longer or shorter, are written.
  result<> resize(std::uint32_t nr_cache_blocks);

  static std::uint64_t part_of(cache_block block);
  std::uint64_t nr_parts() const;
  result<> write_part(std::uint64_t part);

  // Where the dirty state is kept. It counts after a clean shutdown only, and needn't be right
  // before.
  std::uint64_t nr_dirty_parts() const;
  result<> write_dirty_part(std::uint64_t part);

 private:
  bool has_dirty_bits() const { return block_.version != 1; }
  result<> write_dirty_bits(std::uint64_t part);

  superblock &block_;
  source from_;
  array entries_;
};

} // namespace dmcache
