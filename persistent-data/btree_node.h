// A node of a B-tree, in the bytes of its block. format.md: "B-tree".
#pragma once

#include <cstring>
#include <string>

#include "persistent-data/damage.h"
#include "persistent-data/validator.h"

namespace dmcache {

// A node to be read. Its entries can be believed only after header_fault() and key_fault() have
// found nothing.
class btree_node {
 public:
  explicit btree_node(block_view block) : block_{block} {
    std::memcpy(&header_, block.data(), sizeof header_);
  }

  const btree_node_header &header() const { return header_; }
  bool is_leaf() const { return header_.flags == btree_node_header::leaf; }
  std::size_t size() const { return header_.nr_entries; }
  std::size_t max_size() const { return header_.max_entries; }

  std::uint64_t key(std::size_t index) const { return load<le64>(key_offset(index)); }
  std::uint64_t value(std::size_t index) const {
    return header_.value_size == sizeof(le32) ? std::uint64_t{load<le32>(value_offset(index))}
                                              : std::uint64_t{load<le64>(value_offset(index))};
  }

  // What is wrong with the header; empty if nothing.
  std::string header_fault(std::size_t leaf_value_size, bool is_root) const;
  // What is wrong with the keys of a node whose parent gives it the range `given`; empty if
  // nothing.
  std::string key_fault(key_range given) const;

 protected:
  std::size_t key_offset(std::size_t index) const { return sizeof header_ + index * sizeof(le64); }
  std::size_t value_offset(std::size_t index) const {
    return sizeof header_ + header_.max_entries * sizeof(le64) + index * header_.value_size;
  }

  template <typename T> T load(std::size_t offset) const {
    T field;
    std::memcpy(&field, block_.data() + offset, sizeof field);
    return field;
  }

  block_view block_;
  btree_node_header header_;
};

// A node to be changed: what is set stands in the block at once.
class writable_btree_node : public btree_node {
 public:
  explicit writable_btree_node(std::span<std::byte, metadata_block_size> block)
      : btree_node{block}, data_{block} {}

  // Makes it an empty node.
  void clear(std::uint32_t flags, std::size_t value_size);

  void set_key(std::size_t index, std::uint64_t key);
  void set_value(std::size_t index, std::uint64_t value);
  void insert(std::size_t index, std::uint64_t key, std::uint64_t value);
  void append(std::uint64_t key, std::uint64_t value) { insert(size(), key, value); }
  void erase(std::size_t index);
  void shrink(std::size_t size);

 private:
  void set_size(std::size_t size);
  void move(std::size_t from, std::size_t to, std::size_t count);

  std::span<std::byte, metadata_block_size> data_;
};

} // namespace dmcache
