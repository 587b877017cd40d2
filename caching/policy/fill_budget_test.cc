#include "caching/policy/fill_budget.h"

#include <gtest/gtest.h>

namespace dmcache {
namespace {

TEST(fill_budget, that_is_not_limited_is_never_spent) {
  fill_budget budget;
  for (int i = 0; i < 100; ++i) {
    EXPECT_TRUE(budget.has_any());
    EXPECT_EQ(budget.touches_needed(31), 1);
    budget.spend();
  }
}

TEST(fill_budget, begins_with_half_an_hour_s_and_saves_an_hour_s_at_most) {
  fill_budget budget;
  budget.limit_to(2);
  for (int i = 0; i < 3600; ++i) {
    ASSERT_TRUE(budget.has_any());
    budget.spend();
  }
  EXPECT_FALSE(budget.has_any());
  budget.earn(1'000'000);
  for (int i = 0; i < 7200; ++i) {
    ASSERT_TRUE(budget.has_any());
    budget.spend();
  }
  EXPECT_FALSE(budget.has_any());
}

TEST(fill_budget, gives_so_many_a_second) {
  fill_budget budget;
  budget.limit_to(0.01); // saves 36
  for (int i = 0; i < 18; ++i) {
    budget.spend();
  }
  EXPECT_FALSE(budget.has_any());
  budget.earn(99);
  EXPECT_FALSE(budget.has_any());
  budget.earn(2);
  EXPECT_TRUE(budget.has_any());
}

TEST(fill_budget, can_save_four_however_low_it_is) {
  fill_budget budget;
  budget.limit_to(0.0001);
  budget.earn(1'000'000'000);
  for (int i = 0; i < 4; ++i) {
    ASSERT_TRUE(budget.has_any());
    budget.spend();
  }
  EXPECT_FALSE(budget.has_any());
}

TEST(fill_budget, wants_more_touches_the_less_is_left) {
  fill_budget budget;
  budget.limit_to(1);
  EXPECT_EQ(budget.touches_needed(31), 6); // 2 ^ 2.5
  budget.earn(3600);
  EXPECT_EQ(budget.touches_needed(31), 1);
  for (int i = 0; i < 3599; ++i) {
    budget.spend();
  }
  EXPECT_EQ(budget.touches_needed(31), 31); // 2 ^ 5, but no more than can be counted
}

TEST(fill_budget, that_is_lowered_keeps_no_more_than_it_can_save) {
  fill_budget budget;
  budget.limit_to(100);
  budget.limit_to(0.01);
  for (int i = 0; i < 36; ++i) {
    ASSERT_TRUE(budget.has_any());
    budget.spend();
  }
  EXPECT_FALSE(budget.has_any());
}

} // namespace
} // namespace dmcache
