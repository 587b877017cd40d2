// Small images of on-disk structures for tests: well-formed, for a test to damage.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "base/memory_device.h"
#include "base/progress.h"
#include "persistent-data/validator.h"
#include "persistent-data/walk_context.h"

namespace dmcache {

// Keeps what it is told.
class collected_damage final : public damage_sink {
 public:
  void found(const damage &finding) override { all.push_back(finding); }

  // "block 5: bad checksum (4 -> 5)", a line each
  std::string text() const {
    std::string lines;
    for (const damage &each : all) {
      lines += describe(each) + "\n";
    }
    return lines;
  }

  std::vector<damage> all;
};

class image_builder {
 public:
  explicit image_builder(std::uint64_t nr_blocks)
      : device{bytes{nr_blocks * metadata_block_size}}, usage{device.size()} {}

  using entries = std::vector<std::pair<std::uint64_t, std::uint64_t>>;

  // A node with these keys and values.
  void add_node(std::uint64_t where, std::uint32_t flags, const entries &content,
                std::uint32_t value_size = 8) {
    const std::uint32_t max = btree_max_entries(value_size);
    write(where,
          btree_node_header{
              {}, flags, {}, static_cast<std::uint32_t>(content.size()), max, value_size, {}});
    for (std::size_t i = 0; i < content.size(); ++i) {
      set<le64>(where, sizeof(btree_node_header) + 8 * i, content[i].first);
      const std::size_t value = sizeof(btree_node_header) + sizeof(le64) * max + value_size * i;
      if (value_size == 4) {
        set<le32>(where, value, static_cast<std::uint32_t>(content[i].second));
      } else {
        set<le64>(where, value, content[i].second);
      }
    }
    seal_block(btree_node_type, where);
  }
  void add_leaf(std::uint64_t where, const entries &content, std::uint32_t value_size = 8) {
    add_node(where, btree_node_header::leaf, content, value_size);
  }
  void add_internal(std::uint64_t where, const entries &content) {
    add_node(where, btree_node_header::internal, content);
  }

  // An array block with these values, of 8 or 4 bytes each.
  template <typename Value = std::uint64_t>
  void add_array_block(std::uint64_t where, const std::vector<Value> &values) {
    write(where, array_block_header{{},
                                    array_max_entries(sizeof(Value)),
                                    static_cast<std::uint32_t>(values.size()),
                                    sizeof(Value),
                                    {}});
    for (std::size_t i = 0; i < values.size(); ++i) {
      set<little_endian<Value>>(where, sizeof(array_block_header) + sizeof(Value) * i, values[i]);
    }
    seal_block(array_block_type, where);
  }

  // Array blocks from `where` + 1 on, and above them a tree of one node at `where`.
  template <typename Value = std::uint64_t>
  void add_array(std::uint64_t where, const std::vector<Value> &values) {
    const std::size_t per_block = array_max_entries(sizeof(Value));
    entries blocks;
    for (std::size_t first = 0; first < values.size(); first += per_block) {
      const std::uint64_t block = where + 1 + blocks.size();
      const std::size_t count = std::min(per_block, values.size() - first);
      const auto begin = values.begin() + static_cast<std::ptrdiff_t>(first);
      add_array_block<Value>(block, {begin, begin + static_cast<std::ptrdiff_t>(count)});
      blocks.emplace_back(blocks.size(), block);
    }
    add_leaf(where, blocks);
  }

  template <typename Field> void set(std::uint64_t where, std::size_t offset, const Field &value) {
    std::memcpy(block(where).data() + offset, &value, sizeof value);
  }

  void seal_block(const block_type &type, std::uint64_t where) {
    seal(type, metadata_block{where}, block(where));
  }

  std::span<std::byte, metadata_block_size> block(std::uint64_t where) {
    return device.contents().subspan(where * metadata_block_size).first<metadata_block_size>();
  }

  walk_context context() { return {device, usage, sink, watcher}; }

  memory_device device;
  block_usage usage;
  collected_damage sink;
  progress watcher{true};

 private:
  template <typename Header> void write(std::uint64_t where, const Header &header) {
    std::ranges::fill(block(where), std::byte{0});
    set(where, 0, header);
  }
};

} // namespace dmcache
