#include "persistent-data/btree_node.h"

#include <fmt/format.h>

namespace dmcache {
namespace {

constexpr std::size_t child_size = sizeof(le64);

} // namespace

std::string btree_node::header_fault(std::size_t leaf_value_size, bool is_root) const {
  if (header_.flags != btree_node_header::internal && header_.flags != btree_node_header::leaf) {
    return fmt::format("node flags {:#x} are neither internal nor leaf",
                       std::uint32_t{header_.flags});
  }
  const std::size_t value_size = is_leaf() ? leaf_value_size : child_size;
  if (header_.value_size != value_size) {
    return fmt::format("value size {} where {} is expected", std::uint32_t{header_.value_size},
                       value_size);
  }
  if (header_.max_entries != btree_max_entries(value_size)) {
    return fmt::format("room for {} entries where a node has {}",
                       std::uint32_t{header_.max_entries}, btree_max_entries(value_size));
  }
  if (header_.nr_entries > header_.max_entries) {
    return fmt::format("{} entries where {} is the most", std::uint32_t{header_.nr_entries},
                       std::uint32_t{header_.max_entries});
  }
  if (header_.nr_entries == 0 && !(is_leaf() && is_root)) {
    return "node without entries";
  }
  return {};
}

std::string btree_node::key_fault(key_range given) const {
  for (std::size_t i = 0; i < size(); ++i) {
    if (i > 0 && key(i) <= key(i - 1)) {
      return fmt::format("keys out of order: {} after {}", key(i), key(i - 1));
    }
    if (key(i) < given.begin || key(i) >= given.end) {
      return fmt::format("key {} is outside of its parent's range, {}-{}", key(i), given.begin,
                         given.end - 1);
    }
  }
  return {};
}

void writable_btree_node::clear(std::uint32_t flags, std::size_t value_size) {
  header_ = {.checksum = {},
             .flags = flags,
             .block_number = {},
             .nr_entries = 0,
             .max_entries = btree_max_entries(value_size),
             .value_size = static_cast<std::uint32_t>(value_size),
             .padding = {}};
  std::memcpy(data_.data(), &header_, sizeof header_);
}

void writable_btree_node::set_key(std::size_t index, std::uint64_t key) {
  const le64 stored = key;
  std::memcpy(data_.data() + key_offset(index), &stored, sizeof stored);
}

void writable_btree_node::set_value(std::size_t index, std::uint64_t value) {
  const le64 stored = value; // of which the low bytes come first
  std::memcpy(data_.data() + value_offset(index), &stored, header_.value_size);
}

void writable_btree_node::insert(std::size_t index, std::uint64_t key, std::uint64_t value) {
  move(index, index + 1, size() - index);
  set_key(index, key);
  set_value(index, value);
  set_size(size() + 1);
}

void writable_btree_node::erase(std::size_t index) {
  move(index + 1, index, size() - index - 1);
  set_size(size() - 1);
}

void writable_btree_node::shrink(std::size_t size) {
  set_size(size);
}

void writable_btree_node::set_size(std::size_t size) {
  header_.nr_entries = static_cast<std::uint32_t>(size);
  std::memcpy(data_.data(), &header_, sizeof header_);
}

void writable_btree_node::move(std::size_t from, std::size_t to, std::size_t count) {
  std::memmove(data_.data() + key_offset(to), data_.data() + key_offset(from),
               count * sizeof(le64));
  std::memmove(data_.data() + value_offset(to), data_.data() + value_offset(from),
               count * header_.value_size);
}

} // namespace dmcache
