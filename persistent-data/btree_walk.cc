#include "persistent-data/btree_walk.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include <fmt/format.h>

#include "base/assert.h"
#include "persistent-data/block_stream.h"

namespace dmcache {
namespace {

constexpr std::size_t child_size = sizeof(le64);

template <typename T> T load(block_view block, std::size_t offset) {
  T field;
  std::memcpy(&field, block.data() + offset, sizeof field);
  return field;
}

std::uint64_t key_at(block_view block, std::size_t index) {
  return load<le64>(block, sizeof(btree_node_header) + index * sizeof(le64));
}

std::uint64_t value_at(block_view block, const btree_node_header &header, std::size_t index) {
  const std::size_t values = sizeof header + header.max_entries * sizeof(le64);
  return header.value_size == sizeof(le32)
             ? std::uint64_t{load<le32>(block, values + index * sizeof(le32))}
             : std::uint64_t{load<le64>(block, values + index * sizeof(le64))};
}

// What is wrong with the header of a node; empty if nothing.
std::string header_fault(const btree_node_header &header, std::size_t leaf_value_size,
                         bool is_root) {
  if (header.flags != btree_node_header::internal && header.flags != btree_node_header::leaf) {
    return fmt::format("node flags {:#x} are neither internal nor leaf",
                       std::uint32_t{header.flags});
  }
  const bool is_leaf = header.flags == btree_node_header::leaf;
  const std::size_t value_size = is_leaf ? leaf_value_size : child_size;
  if (header.value_size != value_size) {
    return fmt::format("value size {} where {} is expected", std::uint32_t{header.value_size},
                       value_size);
  }
  if (header.max_entries != btree_max_entries(value_size)) {
    return fmt::format("room for {} entries where a node has {}", std::uint32_t{header.max_entries},
                       btree_max_entries(value_size));
  }
  if (header.nr_entries > header.max_entries) {
    return fmt::format("{} entries where {} is the most", std::uint32_t{header.nr_entries},
                       std::uint32_t{header.max_entries});
  }
  if (header.nr_entries == 0 && !(is_leaf && is_root)) {
    return "node without entries";
  }
  return {};
}

// What is wrong with the keys of a node that was given [low, high); empty if nothing.
std::string key_fault(block_view block, const btree_node_header &header, key_range given) {
  for (std::size_t i = 0; i < header.nr_entries; ++i) {
    const std::uint64_t key = key_at(block, i);
    if (i > 0 && key <= key_at(block, i - 1)) {
      return fmt::format("keys out of order: {} after {}", key, key_at(block, i - 1));
    }
    if (key < given.begin || key >= given.end) {
      return fmt::format("key {} is outside of its parent's range, {}-{}", key, given.begin,
                         given.end - 1);
    }
  }
  return {};
}

} // namespace

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
    if (const auto refused = context_.usage.claim(tree_.root, tree_.kind.which)) {
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
    const auto header = load<btree_node_header>(block.data, 0);
    if (header.flags == btree_node_header::leaf) {
      add_entries(block.data, header, index);
    } else {
      add_children(block.data, header, index, node.keys.end);
    }
  }

  std::string fault_in(const pending &node, block_view block) {
    if (const char *fault = fault_of(btree_node_type, node.where, block)) {
      return fault;
    }
    const auto header = load<btree_node_header>(block, 0);
    if (std::string fault =
            header_fault(header, tree_.value_size, node.parent == btree_contents::none);
        !fault.empty()) {
      return fault;
    }
    if (std::string fault = key_fault(block, header, node.keys); !fault.empty()) {
      return fault;
    }
    if (level_kind_ == 0) {
      level_kind_ = header.flags;
    }
    return header.flags == level_kind_ ? "" : "leaf and internal nodes at the same depth";
  }

  void add_entries(block_view block, const btree_node_header &header, std::uint32_t index) {
    for (std::size_t i = 0; i < header.nr_entries; ++i) {
      const std::uint64_t key = key_at(block, i);
      if (key >= tree_.key_limit) {
        report(contents_.nodes_[index].where, contents_.path_to_node(index),
               fmt::format("entries from {} on, where {} is the last", key, tree_.key_limit - 1),
               {});
        context_.usage.forget_completeness();
        return;
      }
      contents_.entries.push_back({key, value_at(block, header, i), index});
    }
  }

  void add_children(block_view block, const btree_node_header &header, std::uint32_t index,
                    std::uint64_t end) {
    for (std::size_t i = 0; i < header.nr_entries; ++i) {
      const bool is_last = i + 1 == header.nr_entries;
      const key_range keys{key_at(block, i), is_last ? end : key_at(block, i + 1)};
      const metadata_block child{value_at(block, header, i)};
      if (const auto refused = context_.usage.claim(child, tree_.kind.which)) {
        report(contents_.nodes_[index].where, contents_.path_to_node(index), *refused, keys);
      } else {
        level_.push_back({child, keys, index});
      }
    }
  }

  void report(metadata_block where, std::string path, std::string what,
              std::optional<key_range> keys, bool io_error = false) {
    damage found{tree_.kind.which, tree_.kind.fatal, where, std::move(path), std::move(what), {},
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
  const auto header = load<btree_node_header>(block, 0);
  const key_range any{0, std::numeric_limits<std::uint64_t>::max()};
  if (fault_of(btree_node_type, where, block) == nullptr &&
      header.flags == btree_node_header::leaf && header_fault(header, sizeof(le64), true).empty() &&
      key_fault(block, header, any).empty()) {
    for (std::size_t i = 0; i < header.nr_entries; ++i) {
      entries.emplace_back(key_at(block, i), value_at(block, header, i));
    }
  }
  return entries;
}

} // namespace dmcache
