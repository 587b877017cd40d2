#include "caching/tools/cache_facts.h"

#include <fmt/format.h>

#include "caching/metadata/mapping_writer.h"
#include "caching/metadata/superblock_mend.h"

namespace dmcache {

result<> agree(const cache_facts &known, const superblock &block, const char *name) {
  const auto differ = [](const auto &fact, const auto &found) { return fact && *fact != found; };
  std::string difference;
  if (differ(known.data_block_size, block.data_block_size)) {
    difference = fmt::format("a block size of {} sectors", std::uint32_t{block.data_block_size});
  } else if (differ(known.cache_blocks, block.cache_blocks)) {
    difference = fmt::format("{} cache blocks", std::uint32_t{block.cache_blocks});
  } else if (differ(known.version, block.version)) {
    difference = fmt::format("metadata version {}", std::uint32_t{block.version});
  } else if (differ(known.policy, block.policy())) {
    difference = fmt::format("policy '{}'", block.policy());
  }
  return difference.empty()
             ? agree_on_fast_device(known, block.cache_blocks, block.data_block_size)
             : fail(failure::failed, fmt::format("{}, and says {}: what was given contradicts it",
                                                 name, difference));
}

result<> agree_on_fast_device(const cache_facts &known, std::uint64_t cache_blocks,
                              std::uint32_t data_block_size) {
  const bool is_known = known.fast_size && is_legal_data_block_size(data_block_size);
  if (!is_known || known.fast_size->value() / data_block_size == cache_blocks) {
    return {};
  }
  return fail(
      failure::failed,
      fmt::format("the fast device has room for {} blocks of {} KiB, and the cache has {}: "
                  "one of the numbers is wrong, or the device is not that of this cache, or "
                  "was resized since; if so, leave it out",
                  known.fast_size->value() / data_block_size, data_block_size / 2, cache_blocks));
}

result<> agree_on_mappings(const cache_facts &known, std::uint64_t origin_end,
                           std::uint32_t data_block_size) {
  if (!known.origin_size || origin_end <= divided_up(known.origin_size->value(), data_block_size)) {
    return {};
  }
  return fail(failure::failed,
              fmt::format("origin block {} is mapped, and the origin has just {} blocks of {} KiB: "
                          "the block size is wrong, or the origin is not that of this cache",
                          origin_end - 1, divided_up(known.origin_size->value(), data_block_size),
                          data_block_size / 2));
}

result<> agree_on_discards(const cache_facts &known, std::uint64_t nr_words,
                           std::uint32_t data_block_size) {
  if (!known.origin_size) {
    return {};
  }
  const std::uint64_t nr_blocks =
      nr_discard_blocks_of(*known.origin_size, sectors{data_block_size});
  if (words_for(nr_blocks) == nr_words) {
    return {};
  }
  return fail(
      failure::failed,
      fmt::format("an origin of this size has {} discard blocks if its blocks have {} KiB, "
                  "and the metadata have {} to {}: the block size is wrong, or the origin is "
                  "not that of this cache, or was resized since; if so, leave it out",
                  nr_blocks, data_block_size / 2, (nr_words - 1) * bits_per_word + 1,
                  nr_words * bits_per_word));
}

bool is_confirmed_by_fast_device(const cache_facts &known, std::uint64_t cache_blocks,
                                 std::uint32_t data_block_size) {
  const auto fits = [&](std::uint64_t size) {
    return is_legal_data_block_size(size) && known.fast_size->value() / size == cache_blocks;
  };
  return known.fast_size && fits(data_block_size) &&
         !fits(std::uint64_t{data_block_size} + min_data_block_size) &&
         !fits(std::uint64_t{data_block_size} - min_data_block_size);
}

} // namespace dmcache
