#include "caching/policy/reuse_switch.h"

#include <gtest/gtest.h>

namespace dmcache {
namespace {

unsigned learn_until(reuse_switch &reuse, bool is_likely, bool was_visited_again) {
  unsigned count = 0;
  while (reuse.is_likely() != is_likely && count < 10'000) {
    reuse.learn(was_visited_again);
    ++count;
  }
  return count;
}

TEST(reuse_switch, takes_reuse_for_likely_at_first) {
  EXPECT_TRUE(reuse_switch{}.is_likely());
}

TEST(reuse_switch, needs_more_than_a_thousand_blocks_without_a_second_visit) {
  reuse_switch reuse;
  const unsigned count = learn_until(reuse, false, false);
  EXPECT_EQ(count, 1419); // (1023/1024)^1419 is below a quarter
}

TEST(reuse_switch, does_not_go_back_and_forth_at_one_share) {
  reuse_switch reuse;
  learn_until(reuse, false, false);
  EXPECT_EQ(learn_until(reuse, true, true), 90); // up to 5/16
  EXPECT_GT(learn_until(reuse, false, false), 200U);
}

TEST(reuse_switch, one_that_hears_of_a_tenth_learns_from_a_tenth) {
  reuse_switch reuse{0.1};
  EXPECT_NEAR(learn_until(reuse, false, false), 142, 1);
}

TEST(reuse_switch, one_that_hears_of_next_to_nothing_is_no_slave_to_chance) {
  reuse_switch reuse{0};
  EXPECT_GT(learn_until(reuse, false, false), 40U);
}

} // namespace
} // namespace dmcache
