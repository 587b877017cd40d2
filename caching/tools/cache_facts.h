// What the user knows of a cache whose superblock may be lost.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "caching/metadata/superblock.h"

namespace dmcache {

struct cache_facts {
  std::optional<std::uint32_t> data_block_size; // sectors
  std::optional<std::uint32_t> cache_blocks;
  std::optional<std::uint32_t> version;
  std::optional<std::string> policy;
};

// Fails unless what is known agrees with `block`, which is called `name`.
result<> agree(const cache_facts &known, const superblock &block, const char *name);

} // namespace dmcache
