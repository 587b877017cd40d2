#include "caching/tools/writeback_plan.h"

#include <array>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dmcache {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::uint64_t block_size = 65536;

// Cache block n is at origin block 10 - n, and dirty but for block 0. The discards are of four origin
// blocks each.
writeback_plan plan_of(std::uint32_t flags, std::uint32_t discard_block_size,
                       const writeback_choice &chosen = {}) {
  superblock block{};
  block.version = 2;
  block.flags = flags;
  block.data_block_size = block_size / sector_size;
  block.cache_blocks = 8;
  block.discard_block_size = discard_block_size;
  block.discard_nr_blocks = 4;
  cache_contents contents{block};
  for (std::uint64_t n = 0; n < 8; ++n) {
    EXPECT_FALSE(contents.add({cache_block{n}, origin_block{10 - n}, n != 0}));
  }
  EXPECT_FALSE(contents.add_discards(1, 2)); // origin blocks 4 to 7
  return plan_writeback(contents, chosen);
}

std::vector<std::uint64_t> copied(const writeback_plan &plan) {
  std::vector<std::uint64_t> blocks;
  for (const auto &each : plan.to_copy) {
    blocks.push_back(each.cached_in.value());
  }
  return blocks;
}

TEST(writeback_plan, copies_in_order_of_the_origin_what_is_dirty_and_not_discarded) {
  const auto plan = plan_of(superblock::clean_shutdown, 512);
  EXPECT_THAT(copied(plan), ElementsAre(7, 2, 1));
  EXPECT_THAT(plan.discarded,
              ElementsAre(cache_block{3}, cache_block{4}, cache_block{5}, cache_block{6}));
  EXPECT_EQ(plan.nr_dirty(), 7);
  EXPECT_EQ(plan.nr_left_out(), 0);
}

TEST(writeback_plan, believes_no_discards_after_a_crash) {
  const auto plan = plan_of(0, 512);
  EXPECT_THAT(copied(plan), ElementsAre(7, 6, 5, 4, 3, 2, 1));
  EXPECT_THAT(plan.discarded, IsEmpty());
}

TEST(writeback_plan, takes_only_whole_blocks_for_discarded) {
  // One and a half origin blocks each: discard block 1 begins within origin block 1, and ends with 2.
  const auto plan = plan_of(superblock::clean_shutdown, 192);
  EXPECT_THAT(plan.discarded, IsEmpty());
}

TEST(writeback_plan, leaves_out_what_is_excluded_or_was_not_read) {
  const std::array excluded{cache_block_range{cache_block{1}, cache_block{3}}};
  rescue_map map;
  map.add(bytes{0}, bytes{4096 + 6 * block_size + 1}, true);
  const auto plan =
      plan_of(0, 512, {.excluded = excluded, .fast_map = &map, .fast_begin = bytes{4096}});
  EXPECT_THAT(copied(plan), ElementsAre(5, 4, 3));
  EXPECT_THAT(plan.excluded, ElementsAre(cache_block{1}, cache_block{2}));
  EXPECT_THAT(plan.unreadable, ElementsAre(cache_block{6}, cache_block{7}));
  EXPECT_EQ(plan.nr_left_out(), 4);
}

} // namespace
} // namespace dmcache
