// Arrays and bitsets that change, by copy on write. format.md: "Array", "Bitset". As with trees,
// each change takes a root and gives the new one, and one that fails leaves the transaction half
// made.
#pragma once

#include <cstdint>
#include <span>

#include "persistent-data/btree.h"

namespace dmcache {

class array {
 public:
  // Of values of `value_size` bytes (4 or 8). `in` must outlive this.
  array(transaction_manager &in, std::size_t value_size);

  // An array without entries.
  result<metadata_block> create() { return tree_.create(); }

  // An array of `old_size` entries gets `new_size`; those added are `value`.
  result<metadata_block> resize(metadata_block root, std::uint64_t old_size, std::uint64_t new_size,
                                std::uint64_t value);

  // Requires that there is an entry `index`.
  result<std::uint64_t> get(metadata_block root, std::uint64_t index);
  result<metadata_block> set(metadata_block root, std::uint64_t index, std::uint64_t value);

  // What follows reads no array block, so that nothing is read at all once load_tree() has read the
  // nodes.
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
  struct place {
    std::uint64_t part; // which array block
    std::size_t offset; // of the entry's bytes in it
  };

  place place_of(std::uint64_t index) const;
  result<metadata_block> block_of(metadata_block root, std::uint64_t part);
  result<transaction_manager::readable> read(metadata_block where);
  result<metadata_block> resize_block(metadata_block root, std::uint64_t part, std::uint64_t size,
                                      std::uint64_t value);
  result<metadata_block> remove_block(metadata_block root, std::uint64_t part);

  transaction_manager &in_;
  std::size_t value_size_;
  std::uint64_t per_block_;
  btree tree_;
};

// An array of words of 64 bits; bits beyond the last one are zero.
class bitset {
 public:
  explicit bitset(transaction_manager &in) : words_{in, sizeof(le64)} {}

  result<metadata_block> create() { return words_.create(); }
  result<metadata_block> resize(metadata_block root, std::uint64_t old_size, std::uint64_t new_size,
                                bool value);
  result<bool> test(metadata_block root, std::uint64_t bit);
  result<metadata_block> set(metadata_block root, std::uint64_t bit, bool value);
  result<> destroy(metadata_block root) { return words_.destroy(root); }

 private:
  array words_;
};

} // namespace dmcache
