#include "caching/sizing/size_advisor.h"

#include <gtest/gtest.h>

#include "caching/sizing/testing/generated_touches.h"

namespace dmcache {
namespace {

constexpr std::uint64_t seconds_of_a_day = 86400;

class size_advisor_test : public testing::Test {
 protected:
  // As the engine does, in a cache that has `nr_blocks` and misses everything.
  void make(std::uint64_t nr_blocks) {
    advisor_.emplace(policy_geometry{nr_blocks, 1000000, sectors{128}}, totals_);
  }
  void touch(std::uint64_t block, promotion possible = promotion::by_copy) {
    ++(possible == promotion::by_copy ? totals_.read_misses : totals_.write_misses);
    if (advisor_->follows(origin_block{block})) {
      advisor_->touch(origin_block{block}, possible);
    }
  }
  size_advice advice() {
    advisor_->tick(now_, totals_);
    return advisor_->advice();
  }

  hit_totals totals_{0, ~std::uint32_t{0} - 5, 7, 9}; // about to wrap
  std::optional<size_advisor> advisor_;
  std::uint64_t now_ = 0;
};

TEST_F(size_advisor_test, counts_from_where_it_began) {
  make(100);
  for (std::uint64_t block = 0; block < 10; ++block) {
    touch(block);
  }
  totals_.write_hits += 3;
  const size_advice found = advice();
  EXPECT_EQ(found.seen.reads, 10);
  EXPECT_EQ(found.seen.writes, 3);
  EXPECT_EQ(found.missed.reads, 10);
  EXPECT_EQ(found.missed.writes, 0);
}

TEST_F(size_advisor_test, says_for_which_sizes) {
  make(100);
  const size_advice found = advice();
  ASSERT_EQ(found.sizes.size(), 5U);
  EXPECT_EQ(found.sizes[0].nr_blocks, 25);
  EXPECT_EQ(found.sizes[1].nr_blocks, 50);
  EXPECT_EQ(found.sizes[2].nr_blocks, 100);
  EXPECT_EQ(found.sizes[3].nr_blocks, 200);
  EXPECT_EQ(found.sizes[4].nr_blocks, 400);
  EXPECT_EQ(found.curve.front().nr_blocks, 1);
  EXPECT_EQ(found.curve.back().nr_blocks, 6400);
}

TEST_F(size_advisor_test, has_seen_enough_after_ten_touches_a_sample) {
  make(100);
  for (std::uint64_t i = 0; i < 81919; ++i) {
    touch(i % 10);
  }
  EXPECT_LT(advice().progress, 1);
  touch(0);
  EXPECT_EQ(advice().progress, 1);
}

// 150 blocks in turns: twice the cache holds all of them.
TEST_F(size_advisor_test, knows_that_twice_the_cache_would_hold_all) {
  make(100);
  for (std::uint64_t i = 0; i < 90000; ++i) {
    touch(i % 150);
  }
  const size_advice found = advice();
  EXPECT_GT(found.sizes[2].lru.reads, 0.99);
  EXPECT_LT(found.sizes[3].lru.reads, 0.01);
  EXPECT_LT(found.sizes[3].sift.reads, 0.01);
  EXPECT_GT(found.sizes[2].sift.reads, 0.1);
}

TEST_F(size_advisor_test, follows_few_blocks_of_many) {
  make(1 << 20);
  for (const origin_block each : generated_touches(1, 1000000, 1000000)) {
    touch(each.value());
  }
  std::uint64_t nr_followed = 0;
  for (std::uint64_t block = 0; block < 1000000; ++block) {
    nr_followed += advisor_->follows(origin_block{block}) ? 1U : 0U;
  }
  EXPECT_LT(nr_followed, 20000);
  EXPECT_GT(nr_followed, 2000);
}

TEST_F(size_advisor_test, what_is_a_day_old_counts_half) {
  make(100);
  for (std::uint64_t block = 0; block < 10; ++block) {
    touch(block);
  }
  (void)advice();
  now_ = seconds_of_a_day - 1;
  EXPECT_EQ(advice().seen.reads, 10);
  now_ = seconds_of_a_day;
  EXPECT_EQ(advice().seen.reads, 5);
  now_ = seconds_of_a_day + 1;
  EXPECT_EQ(advice().seen.reads, 5);
}

} // namespace
} // namespace dmcache
