#include "caching/metadata/origin_block_set.h"

#include <gtest/gtest.h>

namespace dmcache {
namespace {

// On both sides of where the representation changes, and the largest that the format has room for.
constexpr std::uint64_t numbers[] = {
    0, 63, 64, (1UL << 27) - 1, 1UL << 27, 1UL << 32, (1UL << 48) - 1};

TEST(origin_block_set, knows_what_it_has_seen) {
  origin_block_set set;
  for (const std::uint64_t number : numbers) {
    EXPECT_FALSE(set.contains(origin_block{number})) << number;
    EXPECT_TRUE(set.insert(origin_block{number})) << number;
    EXPECT_FALSE(set.insert(origin_block{number})) << number;
    EXPECT_TRUE(set.contains(origin_block{number})) << number;
  }
  EXPECT_FALSE(set.contains(origin_block{1}));
  EXPECT_FALSE(set.contains(origin_block{(1UL << 32) + 1}));
}

TEST(origin_block_set, keeps_its_blocks_when_moved) {
  origin_block_set first;
  first.insert(origin_block{5});
  const origin_block_set second = std::move(first);
  EXPECT_TRUE(second.contains(origin_block{5}));
}

} // namespace
} // namespace dmcache
