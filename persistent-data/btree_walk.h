// All entries of a B-tree, read level by level, whatever state the tree is in. format.md: "B-tree".
//
// A node that can't be believed, for whatever reason, loses just the range of keys that its parent
// gave it. No block is read twice, so that neither cycles nor shared subtrees cost time or memory.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "persistent-data/validator.h"
#include "persistent-data/walk_context.h"

namespace dmcache {

struct btree_description {
  metadata_block root;
  std::size_t value_size;  // 4 or 8
  std::uint64_t key_limit; // keys are below this
  structure_kind kind;
  // Damage tells what is lost in what the user counts in: each key stands for so many of these, of
  // which there are `lost_limit` in all.
  std::uint64_t lost_per_key = 1;
  std::uint64_t lost_limit;
};

class btree_contents {
 public:
  struct entry {
    std::uint64_t key;
    std::uint64_t value;
    std::uint32_t node; // that holds it
  };

  std::vector<entry> entries;  // keys ascend
  std::vector<key_range> lost; // key ranges that were reported as lost; ascending

  // The block of the node that holds this entry.
  metadata_block node_of(const entry &held) const { return nodes_[held.node].where; }
  // The way from the root to the node that holds this entry: "19 -> 231".
  std::string path_to(const entry &held) const { return path_to_node(held.node); }

 private:
  friend class btree_walker;

  static constexpr std::uint32_t none = 0xffffffff;

  struct node {
    metadata_block where;
    std::uint32_t parent;
  };

  std::string path_to_node(std::uint32_t index) const;

  std::vector<node> nodes_;
};

// Damage is told to the context's sink. The nodes' blocks are claimed in its usage.
btree_contents walk_btree(const walk_context &context, const btree_description &tree);

// The keys and values of a leaf of 8-byte values, whatever leads to it; none if `block`, read from
// `where`, can't be believed to be one.
std::vector<std::pair<std::uint64_t, std::uint64_t>> read_leaf(metadata_block where,
                                                               block_view block);

} // namespace dmcache
