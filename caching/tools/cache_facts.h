// What the user knows of a cache whose superblock may be lost.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "base/units.h"
#include "caching/metadata/superblock.h"

namespace dmcache {

struct cache_facts {
  std::optional<std::uint32_t> data_block_size{}; // sectors
  std::optional<std::uint32_t> cache_blocks{};
  std::optional<std::uint32_t> version{};
  std::optional<std::string> policy{};
  std::optional<sectors> fast_size{}; // of the whole fast device
  std::optional<sectors> origin_size{};
};

// Fails unless what is known agrees with `block`, which is called `name`.
result<> agree(const cache_facts &known, const superblock &block, const char *name);

// The metadata count in blocks, so that nothing in them tells how large a block is. The sizes of the
// devices do. Each of these fails if they contradict a block size of so many sectors: that of the
// fast device with so many cache blocks,
result<> agree_on_fast_device(const cache_facts &known, std::uint64_t cache_blocks,
                              std::uint32_t data_block_size);
// that of the origin with mappings to blocks below this one,
result<> agree_on_mappings(const cache_facts &known, std::uint64_t origin_end,
                           std::uint32_t data_block_size);
// and that of the origin with a bitset of discards of so many 64-bit words.
result<> agree_on_discards(const cache_facts &known, std::uint64_t nr_words,
                           std::uint32_t data_block_size);

// Does no other block size give just so many blocks on the fast device?
bool is_confirmed_by_fast_device(const cache_facts &known, std::uint64_t cache_blocks,
                                 std::uint32_t data_block_size);

} // namespace dmcache
