// B-trees that change, by copy on write. format.md: "B-tree".
//
// Every change takes the root of a tree and gives its new one, which the caller keeps; the old one
// means nothing any more. A change that fails leaves the transaction half made
// (transaction_manager.h).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "persistent-data/transaction_manager.h"

namespace dmcache {

class btree {
 public:
  // For trees of values of `value_size` bytes (4 or 8). `in` must outlive this.
  btree(transaction_manager &in, std::size_t value_size);

  // An empty tree.
  result<metadata_block> create();

  result<std::optional<std::uint64_t>> find(metadata_block root, std::uint64_t key);
  // The largest key; nothing if the tree is empty.
  result<std::optional<std::uint64_t>> last_key(metadata_block root);

  // The key has this value from now on, whether it was there before or not.
  result<metadata_block> insert(metadata_block root, std::uint64_t key, std::uint64_t value);
  // The key isn't there any more. Requires that it was.
  result<metadata_block> remove(metadata_block root, std::uint64_t key);
  using visitor = std::function<void(std::uint64_t key, std::uint64_t value)>;

  // Visits all entries in order of their keys. All nodes are read, and stay in memory from then on.
  // Requires a tree that is known to be sound (btree_walk.h): a hostile one could take forever.
  result<> visit(metadata_block root, const visitor &each);
  // Releases all nodes.
  result<> destroy(metadata_block root);

 private:
  struct inserted;

  result<transaction_manager::readable> read(metadata_block where);
  result<transaction_manager::writable> shadow(metadata_block where);
  result<inserted> insert_below(metadata_block where, std::uint64_t key, std::uint64_t value,
                                unsigned depth);
  result<inserted> split(const transaction_manager::writable &full);
  result<metadata_block> remove_below(metadata_block where, std::uint64_t key, unsigned depth);
  result<> balance(const transaction_manager::writable &parent, std::size_t child);
  result<> visit_below(metadata_block where, const visitor &each, unsigned depth);
  result<> destroy_below(metadata_block where, unsigned depth);

  transaction_manager &in_;
  std::size_t value_size_;
};

} // namespace dmcache
