// Arrays, and bitsets, which are arrays of words, that change by copy on write: format.md, "Array",
// "Bitset". Each change takes the root of an array and returns its new one, which the caller keeps,
// as with trees (btree.h). One that fails leaves the transaction half made.
//
// Array blocks are written whole, and none of them is ever read.
#pragma once

#include <cstdint>
#include <span>

#include "persistent-data/btree.h"

namespace dmcache {

class array {
 public:
  // For arrays of values of `value_size` bytes (4 or 8). `in` must outlive this.
  array(transaction_manager &in, std::size_t value_size);

  // An array without entries.
  result<metadata_block> create() { return tree_.create(); }

  // Reads the tree's nodes, which stay in memory from then on.
  result<> load_tree(metadata_block root);

  struct rewritten {
    metadata_block root;
    std::span<std::byte> values; // of the block's entries, to be stored before the transaction ends
  };
  // Array block `part` consists of `nr_entries` entries of zero from now on. It is there already,
  // or follows the last one.
  result<rewritten> rewrite_block(metadata_block root, std::uint64_t part,
                                  std::uint64_t nr_entries);
  // Releases the array blocks from number `nr_parts` on.
  result<metadata_block> cut(metadata_block root, std::uint64_t nr_parts);
  // Releases all blocks.
  result<> destroy(metadata_block root);

 private:
  result<metadata_block> block_of(metadata_block root, std::uint64_t part);

  transaction_manager &in_;
  std::size_t value_size_;
  std::uint64_t per_block_;
  btree tree_;
};

} // namespace dmcache
