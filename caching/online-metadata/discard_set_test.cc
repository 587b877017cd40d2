#include "caching/online-metadata/discard_set.h"

#include <vector>

#include <gtest/gtest.h>

#include "caching/online-metadata/testing/metadata_session.h"

namespace dmcache {
namespace {

constexpr std::uint64_t most = std::uint64_t{1} << 14;

TEST(discard_set_test, a_discard_block_is_a_cache_block_if_there_are_few) {
  const discard_set discards{sectors{192}, sectors{most * 192}};
  EXPECT_EQ(discards.block_size(), sectors{192});
  EXPECT_EQ(discards.nr_blocks(), most);
  EXPECT_TRUE(discards.empty());
}

TEST(discard_set_test, a_discard_block_is_doubled_until_there_are_few) {
  const discard_set twice{sectors{192}, sectors{(most + 1) * 192}};
  EXPECT_EQ(twice.block_size(), sectors{384});
  EXPECT_EQ(twice.nr_blocks(), most / 2 + 1);
  // As a kernel had it: 65536 cache blocks of 64 sectors before an origin of 8 GiB.
  const discard_set large{sectors{64}, sectors{16777216}};
  EXPECT_EQ(large.block_size(), sectors{1024});
  EXPECT_EQ(large.nr_blocks(), most);
}

TEST(discard_set_test, the_last_block_may_reach_beyond_the_end) {
  const discard_set discards{sectors{64}, sectors{130}};
  EXPECT_EQ(discards.nr_blocks(), 3U);
}

TEST(discard_set_test, a_huge_origin_has_few_blocks_too) {
  const discard_set discards{sectors{64}, sectors{~std::uint64_t{0}}};
  EXPECT_LE(discards.nr_blocks(), most + 1);
}

TEST(discard_set_test, keeps_what_is_set) {
  discard_set discards{sectors{64}, sectors{64UL * 100}};
  discards.set(3);
  discards.set(3);
  discards.set(99);
  EXPECT_EQ(set_in(discards), (std::vector<std::uint64_t>{3, 99}));
  EXPECT_EQ(discards.nr_words(), 2U);
  EXPECT_EQ(discards.word(0), 0b1000U);
  EXPECT_EQ(discards.word(1), std::uint64_t{1} << 35);
  discards.clear(3);
  EXPECT_FALSE(discards.empty());
  discards.clear(3);
  discards.clear(99);
  EXPECT_TRUE(discards.empty());
}

TEST(discard_set_test, only_blocks_that_are_wholly_covered_are_set) {
  discard_set discards{sectors{64}, sectors{64UL * 100}};
  discards.set_within(sectors{65}, sectors{255});
  EXPECT_EQ(set_in(discards), (std::vector<std::uint64_t>{2}));
  discards.set_within(sectors{10}, sectors{63});
  EXPECT_EQ(set_in(discards), (std::vector<std::uint64_t>{2}));
  discards.set_within(sectors{0}, sectors{64});
  EXPECT_EQ(set_in(discards), (std::vector<std::uint64_t>{0, 2}));
}

TEST(discard_set_test, what_lies_beyond_the_end_is_not_set) {
  discard_set discards{sectors{64}, sectors{64 * 3 + 10}};
  discards.set_within(sectors{64}, sectors{~std::uint64_t{0}});
  EXPECT_EQ(set_in(discards), (std::vector<std::uint64_t>{1, 2, 3}));
}

} // namespace
} // namespace dmcache
