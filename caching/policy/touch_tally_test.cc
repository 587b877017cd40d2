#include "caching/policy/touch_tally.h"

#include <gtest/gtest.h>

namespace dmcache {
namespace {

using touch_kind = touch_tally::touch_kind;

class touch_tally_test : public testing::Test {
 protected:
  touch_tally::touched touch(std::uint64_t block, touch_kind as = touch_kind::of_new_visit) {
    return tally_.touch(origin_block{block}, as);
  }
  // More blocks than there are entries.
  void touch_others(std::uint64_t from = 1'000'000) {
    for (std::uint64_t block = from; block < from + 10'000; ++block) {
      touch(block);
    }
  }

  touch_tally tally_{1};
};

TEST_F(touch_tally_test, counts_touches) {
  EXPECT_EQ(touch(1).count, 1);
  EXPECT_EQ(touch(2).count, 1);
  EXPECT_EQ(touch(1).count, 2);
  EXPECT_EQ(touch(1, touch_kind::of_same_visit).count, 3);
}

TEST_F(touch_tally_test, counts_to_31) {
  for (std::uint32_t count = 1; count <= 31; ++count) {
    EXPECT_EQ(touch(1).count, count);
  }
  EXPECT_EQ(touch(1).count, 31);
}

TEST_F(touch_tally_test, leaves_a_count_as_it_is_if_told_so) {
  EXPECT_EQ(touch(1, touch_kind::of_same_visit_uncounted).count, 1); // it is new, whatever is said
  EXPECT_EQ(touch(1, touch_kind::of_same_visit_uncounted).count, 1);
  EXPECT_EQ(touch(1).count, 2);
}

TEST_F(touch_tally_test, tells_the_first_return_to_a_block_and_none_after_it) {
  EXPECT_FALSE(touch(1).is_first_return);
  EXPECT_FALSE(touch(1, touch_kind::of_same_visit).is_revisited);
  const auto second = touch(1);
  EXPECT_TRUE(second.is_first_return);
  EXPECT_TRUE(second.is_revisited);
  const auto third = touch(1);
  EXPECT_FALSE(third.is_first_return);
  EXPECT_TRUE(third.is_revisited);
}

TEST_F(touch_tally_test, forgets_what_it_is_told_to_and_nothing_else) {
  for (std::uint64_t block = 0; block < 200; ++block) {
    touch(block);
  }
  tally_.forget(origin_block{7});
  tally_.forget(origin_block{1000}); // of which it knows nothing
  for (std::uint64_t block = 0; block < 200; ++block) {
    EXPECT_EQ(touch(block).count, block == 7 ? 1 : 2) << block;
  }
}

TEST_F(touch_tally_test, forgets_what_was_touched_longest_ago) {
  touch(1);
  touch_others();
  EXPECT_EQ(touch(1).count, 1);
}

TEST_F(touch_tally_test, keeps_what_is_touched_again_and_again) {
  for (std::uint64_t i = 0; i < 10; ++i) {
    for (std::uint64_t block = 0; block < 200; ++block) {
      touch(1'000'000 + i * 200 + block);
    }
    EXPECT_EQ(touch(1).count, i + 1);
  }
}

// 1024 of them at least, and an even hash fills nearly all before one is lost.
TEST_F(touch_tally_test, has_an_entry_for_each_cache_block) {
  touch_tally large{5000};
  for (touch_tally *each : {&tally_, &large}) {
    const std::uint64_t nr_entries = each == &large ? 5008 : 1024;
    std::uint64_t nr_lost = 0;
    for (std::uint64_t block = 0; block < 10 * nr_entries; ++block) {
      nr_lost +=
          each->touch(origin_block{block}, touch_kind::of_new_visit).has_lost_unvisited ? 1U : 0U;
    }
    EXPECT_EQ(nr_lost, 9 * nr_entries);
  }
}

TEST_F(touch_tally_test, tells_of_lost_entries_only_whose_blocks_were_not_visited_again) {
  for (std::uint64_t block = 0; block < 10'000; ++block) {
    touch(block);
    touch(block); // as another visit
  }
  for (std::uint64_t block = 0; block < 100; ++block) {
    EXPECT_FALSE(touch(20'000 + block).has_lost_unvisited);
  }
}

} // namespace
} // namespace dmcache
