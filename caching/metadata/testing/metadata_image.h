// A small cache's metadata in memory, for tests: 100 cache blocks, the first four of them mapped.
#pragma once

#include "caching/metadata/mapping_format.h"
#include "caching/metadata/superblock.h"
#include "persistent-data/testing/image_builder.h"

namespace dmcache {

class metadata_image {
 public:
  static constexpr std::uint64_t mapping_root = 10; // its array block follows
  static constexpr std::uint64_t dirty_root = 20;
  static constexpr std::uint64_t discard_root = 30;
  static constexpr std::uint32_t cache_blocks = 100;

  explicit metadata_image(std::uint32_t version) : image{40}, mappings(cache_blocks) {
    block.magic = superblock::magic_value;
    block.version = version;
    block.flags = superblock::clean_shutdown;
    block.metadata_block_size = 8;
    block.data_block_size = 128;
    block.cache_blocks = cache_blocks;
    block.mapping_root = mapping_root;
    block.dirty_root = dirty_root;
    block.discard_root = discard_root;
    for (std::uint64_t i = 0; i < 4; ++i) {
      map(i, 50 + i);
    }
  }

  void map(std::uint64_t cached_in, std::uint64_t origin,
           std::uint64_t flags = mapping_entry::valid) {
    mappings.at(cached_in) = mapping_entry{origin_block{origin}, flags}.encode();
  }

  // Puts everything onto the device.
  void write() {
    image.add_array(mapping_root, mappings);
    image.add_array(dirty_root, dirty_words);
    image.add_array(discard_root, discard_words);
    image.set(0, 0, block);
    image.seal_block(superblock_type, 0);
  }

  image_builder image;
  superblock block{};
  std::vector<std::uint64_t> mappings;
  std::vector<std::uint64_t> dirty_words = {0, 0};
  std::vector<std::uint64_t> discard_words;
};

} // namespace dmcache
