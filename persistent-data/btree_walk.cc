#include "persistent-data/btree_walk.h"

#include <algorithm>
#include <limits>

#include <fmt/format.h>

#include "base/assert.h"
#include "persistent-data/block_stream.h"
#include "persistent-data/btree_node.h"

namespace dmcache {

std::string btree_contents::path_to_node(std::uint32_t index) const {
  std::string path;
  for (std::uint32_t at = index; at != none; at = nodes_[at].parent) {
    path = path.empty() ? fmt::format("{}", nodes_[at].where)
                        : fmt::format("{} -> {}", nodes_[at].where, path);
  }
  return path;
}

class btree_walker {
 public:
  btree_walker(const walk_context &context, const btree_description &tree)
      : context_{context}, tree_{tree} {}

  btree_contents walk() {
    const key_range everything{0, std::numeric_limits<std::uint64_t>::max()};
    if (const auto refused = context_.usage.claim(tree_.root, tree_.kind.part)) {
      report(metadata_block{0}, "", "root " + *refused, everything);
    } else {
      level_.push_back({tree_.root, everything, btree_contents::none});
    }
    while (!level_.empty()) {
      read_level();
    }
    std::ranges::sort(contents_.lost, {}, &key_range::begin);
    return std::move(contents_);
  }

 private:
  struct pending {
    metadata_block where;
    key_range keys; // that its parent gives it
    std::uint32_t parent;
  };

  void read_level() {
    std::vector<pending> reading = std::move(level_);
    level_.clear();
    level_kind_ = 0;
    block_stream blocks{context_.from, reading.size(),
                        [&](std::size_t i) { return reading[i].where; }};
    while (const auto block = blocks.next()) {
      read_node(reading[block->position], *block);
    }
  }

  void read_node(const pending &node, const block_stream::item &block) {
    const auto index = static_cast<std::uint32_t>(contents_.nodes_.size());
    contents_.nodes_.push_back({node.where, node.parent});
    if (block.error) {
      report(node.where, contents_.path_to_node(index), block.error.message(), node.keys, true);
      return;
    }
    if (const std::string fault = fault_in(node, block.data); !fault.empty()) {
      report(node.where, contents_.path_to_node(index), fault, node.keys);
      return;
    }
    const btree_node content{block.data};
    if (content.is_leaf()) {
      add_entries(content, index);
    } else {
      add_children(content, index, node.keys.end);
    }
  }

  std::string fault_in(const pending &node, block_view block) {
    if (const char *fault = fault_of(btree_node_type, node.where, block)) {
      return fault;
    }
    const btree_node content{block};
    if (std::string fault =
            content.header_fault(tree_.value_size, node.parent == btree_contents::none);
        !fault.empty()) {
      return fault;
    }
    if (std::string fault = content.key_fault(node.keys); !fault.empty()) {
      return fault;
    }
    if (level_kind_ == 0) {
      level_kind_ = content.header().flags;
    }
    return content.header().flags == level_kind_ ? "" : "leaf and internal nodes at the same depth";
  }

  void add_entries(const btree_node &node, std::uint32_t index) {
    for (std::size_t i = 0; i < node.size(); ++i) {
      const std::uint64_t key = node.key(i);
      if (key >= tree_.key_limit) {
        report(contents_.nodes_[index].where, contents_.path_to_node(index),
               fmt::format("entries from {} on, where {} is the last", key, tree_.key_limit - 1),
               {});
        context_.usage.forget_completeness();
        return;
      }
      contents_.entries.push_back({key, node.value(i), index});
    }
  }

  void add_children(const btree_node &node, std::uint32_t index, std::uint64_t end) {
    for (std::size_t i = 0; i < node.size(); ++i) {
      const bool is_last = i + 1 == node.size();
      const key_range keys{node.key(i), is_last ? end : node.key(i + 1)};
      const metadata_block child{node.value(i)};
      if (const auto refused = context_.usage.claim(child, tree_.kind.part)) {
        report(contents_.nodes_[index].where, contents_.path_to_node(index), *refused, keys);
      } else {
        level_.push_back({child, keys, index});
      }
    }
  }

  void report(metadata_block where, std::string path, std::string fault,
              std::optional<key_range> keys, bool io_error = false) {
    damage found{tree_.kind.part, tree_.kind.fatal, where, std::move(path), std::move(fault), {},
                 io_error};
    if (keys) {
      context_.usage.forget_completeness();
      contents_.lost.push_back(*keys);
      found.lost = scaled(*keys, tree_.lost_per_key, tree_.lost_limit);
    }
    context_.sink.found(found);
  }

  const walk_context &context_;
  const btree_description &tree_;
  btree_contents contents_;
  std::vector<pending> level_;   // to be read next; keys ascend
  std::uint32_t level_kind_ = 0; // what the level's first node is
};

btree_contents walk_btree(const walk_context &context, const btree_description &tree) {
  require(tree.value_size == sizeof(le32) || tree.value_size == sizeof(le64),
          "values of a tree are 32 or 64 bits wide");
  return btree_walker{context, tree}.walk();
}

std::vector<std::pair<std::uint64_t, std::uint64_t>> read_leaf(metadata_block where,
                                                               block_view block) {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> entries;
  const btree_node node{block};
  if (fault_of(btree_node_type, where, block) == nullptr && node.is_leaf() &&
      node.header_fault(sizeof(le64), true).empty() &&
      node.key_fault({0, std::numeric_limits<std::uint64_t>::max()}).empty()) {
    for (std::size_t i = 0; i < node.size(); ++i) {
      entries.emplace_back(node.key(i), node.value(i));
    }
  }
  return entries;
}

} // namespace dmcache
