// States of a cache's metadata of version 1 in one image, as transactions leave them behind: each in
// blocks of its own behind those of the one before, the index of its space map last.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "caching/metadata/mapping_format.h"
#include "persistent-data/testing/image_builder.h"

namespace dmcache {

class state_image {
 public:
  static constexpr std::uint64_t cache_blocks = 100;

  explicit state_image(std::uint64_t nr_blocks) : image{nr_blocks} {}

  struct blocks {
    std::uint64_t mapping_root;
    std::uint64_t mappings; // the array block below it
    std::uint64_t discard_root;
    std::uint64_t ref_counts;
    std::uint64_t index;
    std::vector<std::uint64_t> used; // all of them, the superblock's included
  };

  // Mappings, by cache block, to origin blocks.
  using mapped = std::map<std::uint64_t, std::uint64_t>;

  // So many mappings, to origin blocks from `origin` on.
  static mapped mapped_from(std::uint64_t origin, std::uint64_t count) {
    mapped origins;
    for (std::uint64_t i = 0; i < count; ++i) {
      origins[i] = origin + i;
    }
    return origins;
  }

  static std::vector<std::uint64_t> entries_of(const mapped &origins,
                                               std::uint64_t nr_entries = cache_blocks) {
    std::vector<std::uint64_t> entries(nr_entries);
    for (const auto &[cached_in, origin] : origins) {
      entries.at(cached_in) = mapping_entry{origin_block{origin}, mapping_entry::valid}.encode();
    }
    return entries;
  }

  // Adds a state with these entries of mappings, and words of discards. It counts `others` as in
  // use, too.
  blocks add(const std::vector<std::uint64_t> &entries,
             const std::vector<std::uint64_t> &discard_words = {},
             const std::vector<std::uint64_t> &others = {}) {
    blocks made{};
    const std::uint64_t first = next_;
    made.mapping_root = add_array(entries);
    made.mappings = made.mapping_root + 1;
    made.discard_root = add_array(discard_words);
    made.ref_counts = next_++;
    image.add_leaf(made.ref_counts, {}, sizeof(le32));
    const std::uint64_t bitmap = next_++;
    made.index = next_++;
    made.used.push_back(superblock_location.value());
    for (std::uint64_t block = first; block < next_; ++block) {
      made.used.push_back(block);
    }
    made.used.insert(made.used.end(), others.begin(), others.end());
    add_space_map(bitmap, made.index, made.used);
    return made;
  }

  void add_space_map(std::uint64_t bitmap, std::uint64_t index,
                     const std::vector<std::uint64_t> &used) {
    space_map_bitmap counts{};
    for (const std::uint64_t block : used) {
      counts.count_first(block);
    }
    image.set(bitmap, 0, counts);
    image.seal_block(space_map_bitmap_type, bitmap);
    add_index(index, bitmap);
  }

  void add_index(std::uint64_t index, std::uint64_t bitmap) {
    space_map_index content{};
    content.entries.front().bitmap_block = bitmap;
    image.set(index, 0, content);
    image.seal_block(space_map_index_type, index);
  }

  image_builder image;

 private:
  std::uint64_t add_array(const std::vector<std::uint64_t> &values) {
    const std::uint64_t root = next_;
    image.add_array(root, values);
    next_ += 1 + divided_up(values.size(), array_max_entries(sizeof(le64)));
    return root;
  }

  std::uint64_t next_ = superblock_location.value() + 1;
};

} // namespace dmcache
