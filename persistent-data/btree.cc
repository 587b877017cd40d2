#include "persistent-data/btree.h"

#include <fmt/format.h>

#include "base/assert.h"
#include "persistent-data/btree_node.h"

namespace dmcache {
namespace {

// Even if no node were more than a third full, no tree of the format is as high as this; one that
// is, is a loop.
constexpr unsigned max_depth = 16;

std::unexpected<error> too_deep(metadata_block where) {
  return fail(failure::failed, fmt::format("block {}: the tree is a loop", where));
}

// The last entry whose key isn't above `key`; 0 if all are.
std::size_t child_for(const btree_node &node, std::uint64_t key) {
  std::size_t begin = 0;
  for (std::size_t end = node.size(); end - begin > 1;) {
    const std::size_t middle = begin + (end - begin) / 2;
    (node.key(middle) <= key ? begin : end) = middle;
  }
  return begin;
}

// Where `key` stands, or would stand.
std::size_t place_of(const btree_node &node, std::uint64_t key) {
  if (node.size() == 0) {
    return 0;
  }
  const std::size_t at = child_for(node, key);
  return at + (node.key(at) < key ? 1U : 0U);
}

bool holds(const btree_node &node, std::size_t at, std::uint64_t key) {
  return at < node.size() && node.key(at) == key;
}

void move_tail(writable_btree_node &from, writable_btree_node &to, std::size_t keep) {
  for (std::size_t i = keep; i < from.size(); ++i) {
    to.append(from.key(i), from.value(i));
  }
  from.shrink(keep);
}

} // namespace

// What became of a node: its new block, and the one split off its end, if it was full.
struct btree::inserted {
  metadata_block where;
  std::optional<std::pair<std::uint64_t, metadata_block>> split_off; // with its first key
};

btree::btree(transaction_manager &in, std::size_t value_size) : in_{in}, value_size_{value_size} {
  require(value_size == sizeof(le32) || value_size == sizeof(le64),
          "values of a tree are 32 or 64 bits wide");
}

result<transaction_manager::readable> btree::read(metadata_block where) {
  auto block = in_.read(btree_node_type, where);
  if (block) {
    // A root is allowed to be an empty leaf; an inner node without entries is never followed.
    const std::string fault = btree_node{block->data()}.header_fault(value_size_, true);
    if (!fault.empty()) {
      return fail(failure::failed, fmt::format("block {}: {}", where, fault));
    }
  }
  return block;
}

result<transaction_manager::writable> btree::shadow(metadata_block where) {
  if (const auto believed = read(where); !believed) {
    return std::unexpected{believed.error()};
  }
  return in_.shadow(btree_node_type, where);
}

result<metadata_block> btree::create() {
  const auto root = in_.add(btree_node_type);
  if (!root) {
    return std::unexpected{root.error()};
  }
  writable_btree_node{root->data()}.clear(btree_node_header::leaf, value_size_);
  return root->where();
}

result<std::optional<std::uint64_t>> btree::find(metadata_block root, std::uint64_t key) {
  metadata_block where = root;
  for (unsigned depth = 0; depth < max_depth; ++depth) {
    const auto block = read(where);
    if (!block) {
      return std::unexpected{block.error()};
    }
    const btree_node node{block->data()};
    if (node.is_leaf()) {
      const std::size_t at = place_of(node, key);
      return holds(node, at, key) ? std::optional{node.value(at)} : std::nullopt;
    }
    where = metadata_block{node.value(child_for(node, key))};
  }
  return too_deep(root);
}

result<std::optional<std::uint64_t>> btree::last_key(metadata_block root) {
  metadata_block where = root;
  for (unsigned depth = 0; depth < max_depth; ++depth) {
    const auto block = read(where);
    if (!block) {
      return std::unexpected{block.error()};
    }
    const btree_node node{block->data()};
    if (node.is_leaf()) {
      return node.size() == 0 ? std::nullopt : std::optional{node.key(node.size() - 1)};
    }
    where = metadata_block{node.value(node.size() - 1)};
  }
  return too_deep(root);
}

result<metadata_block> btree::insert(metadata_block root, std::uint64_t key, std::uint64_t value) {
  const auto done = insert_below(root, key, value, 0);
  if (!done) {
    return std::unexpected{done.error()};
  }
  if (!done->split_off) {
    return done->where;
  }
  const auto above = in_.add(btree_node_type);
  if (!above) {
    return std::unexpected{above.error()};
  }
  const auto below = read(done->where);
  if (!below) {
    return std::unexpected{below.error()};
  }
  writable_btree_node node{above->data()};
  node.clear(btree_node_header::internal, sizeof(le64));
  node.append(btree_node{below->data()}.key(0), done->where.value());
  node.append(done->split_off->first, done->split_off->second.value());
  return above->where();
}

result<btree::inserted> btree::insert_below(metadata_block where, std::uint64_t key,
                                            std::uint64_t value, unsigned depth) {
  if (depth == max_depth) {
    return too_deep(where);
  }
  const auto block = shadow(where);
  if (!block) {
    return std::unexpected{block.error()};
  }
  writable_btree_node node{block->data()};
  std::size_t at = place_of(node, key);
  if (node.is_leaf()) {
    if (holds(node, at, key)) {
      node.set_value(at, value);
      return inserted{block->where(), {}};
    }
  } else {
    const std::size_t child = child_for(node, key);
    const auto below = insert_below(metadata_block{node.value(child)}, key, value, depth + 1);
    if (!below) {
      return below;
    }
    node.set_key(child, std::min(node.key(child), key));
    node.set_value(child, below->where.value());
    if (!below->split_off) {
      return inserted{block->where(), {}};
    }
    at = child + 1;
    key = below->split_off->first;
    value = below->split_off->second.value();
  }
  if (node.size() < node.max_size()) {
    node.insert(at, key, value);
    return inserted{block->where(), {}};
  }
  const auto halves = split(*block);
  if (!halves) {
    return halves;
  }
  const std::size_t kept = node.max_size() - node.max_size() / 2;
  const auto right = shadow(halves->split_off->second);
  if (!right) {
    return std::unexpected{right.error()};
  }
  if (at <= kept) {
    writable_btree_node{block->data()}.insert(at, key, value);
  } else {
    writable_btree_node{right->data()}.insert(at - kept, key, value);
  }
  return halves;
}

result<btree::inserted> btree::split(const transaction_manager::writable &full) {
  const auto added = in_.add(btree_node_type);
  if (!added) {
    return std::unexpected{added.error()};
  }
  writable_btree_node left{full.data()};
  writable_btree_node right{added->data()};
  right.clear(left.header().flags, left.header().value_size);
  move_tail(left, right, left.size() - left.size() / 2);
  return inserted{full.where(), std::pair{right.key(0), added->where()}};
}

result<metadata_block> btree::remove(metadata_block root, std::uint64_t key) {
  auto top = remove_below(root, key, 0);
  while (top) {
    const auto block = read(*top);
    if (!block) {
      return std::unexpected{block.error()};
    }
    const btree_node node{block->data()};
    if (node.is_leaf() || node.size() > 1) {
      break;
    }
    in_.release(*top); // of a single child
    top = metadata_block{node.value(0)};
  }
  return top;
}

result<metadata_block> btree::remove_below(metadata_block where, std::uint64_t key,
                                           unsigned depth) {
  if (depth == max_depth) {
    return too_deep(where);
  }
  const auto block = shadow(where);
  if (!block) {
    return std::unexpected{block.error()};
  }
  writable_btree_node node{block->data()};
  if (node.is_leaf()) {
    const std::size_t at = place_of(node, key);
    if (!holds(node, at, key)) {
      return fail(failure::failed, fmt::format("block {}: the tree has no key {}", where, key));
    }
    node.erase(at);
    return block->where();
  }
  const std::size_t child = child_for(node, key);
  const auto below = remove_below(metadata_block{node.value(child)}, key, depth + 1);
  if (!below) {
    return below;
  }
  node.set_value(child, below->value());
  if (auto balanced = balance(*block, child); !balanced) {
    return std::unexpected{balanced.error()};
  }
  return block->where();
}

// No node but the root is left less than a third full: it takes entries from a neighbour, or
// becomes one with it.
result<> btree::balance(const transaction_manager::writable &parent, std::size_t child) {
  writable_btree_node above{parent.data()};
  const auto shrunk = shadow(metadata_block{above.value(child)});
  if (!shrunk) {
    return std::unexpected{shrunk.error()};
  }
  const btree_node small{shrunk->data()};
  if (small.size() >= small.max_size() / 3 || above.size() == 1) {
    return {};
  }
  const std::size_t left_index = child == 0 ? 0 : child - 1;
  const auto left_block = shadow(metadata_block{above.value(left_index)});
  if (!left_block) {
    return std::unexpected{left_block.error()};
  }
  const auto right_block = shadow(metadata_block{above.value(left_index + 1)});
  if (!right_block) {
    return std::unexpected{right_block.error()};
  }
  above.set_value(left_index, left_block->where().value());
  above.set_value(left_index + 1, right_block->where().value());
  writable_btree_node left{left_block->data()};
  writable_btree_node right{right_block->data()};
  const std::size_t total = left.size() + right.size();
  if (total <= left.max_size() / 3 * 2) {
    for (std::size_t i = 0; i < right.size(); ++i) {
      left.append(right.key(i), right.value(i));
    }
    in_.release(right_block->where());
    above.erase(left_index + 1);
    return {};
  }
  const std::size_t half = total / 2;
  while (left.size() < half) {
    left.append(right.key(0), right.value(0));
    right.erase(0);
  }
  while (left.size() > half) {
    right.insert(0, left.key(left.size() - 1), left.value(left.size() - 1));
    left.shrink(left.size() - 1);
  }
  above.set_key(left_index + 1, right.key(0));
  return {};
}

result<> btree::visit(metadata_block root, const visitor &each) {
  return visit_below(root, each, 0);
}

result<> btree::visit_below(metadata_block where, const visitor &each, unsigned depth) {
  if (depth == max_depth) {
    return too_deep(where);
  }
  const auto block = read(where);
  if (!block) {
    return std::unexpected{block.error()};
  }
  const btree_node node{block->data()};
  for (std::size_t i = 0; i < node.size(); ++i) {
    if (node.is_leaf()) {
      each(node.key(i), node.value(i));
    } else if (auto done = visit_below(metadata_block{node.value(i)}, each, depth + 1); !done) {
      return done;
    }
  }
  return {};
}

result<> btree::destroy(metadata_block root) {
  return destroy_below(root, 0);
}

result<> btree::destroy_below(metadata_block where, unsigned depth) {
  if (depth == max_depth) {
    return too_deep(where);
  }
  const auto block = read(where);
  if (!block) {
    return std::unexpected{block.error()};
  }
  const btree_node node{block->data()};
  for (std::size_t i = 0; !node.is_leaf() && i < node.size(); ++i) {
    if (auto done = destroy_below(metadata_block{node.value(i)}, depth + 1); !done) {
      return done;
    }
  }
  in_.release(where);
  return {};
}

} // namespace dmcache
