// What a superblock says of the caches that tests make.
#pragma once

#include <cstdint>

#include "caching/metadata/superblock.h"

namespace dmcache {

// Of a cache of the smallest blocks, cleanly shut down, whose trees are yet to be written.
inline superblock described_cache(std::uint32_t version, std::uint64_t nr_cache_blocks) {
  superblock block{};
  block.magic = superblock::magic_value;
  block.version = version;
  block.flags = superblock::clean_shutdown;
  block.metadata_block_size = metadata_block_size / sector_size;
  block.data_block_size = min_data_block_size;
  block.cache_blocks = static_cast<std::uint32_t>(nr_cache_blocks);
  return block;
}

} // namespace dmcache
