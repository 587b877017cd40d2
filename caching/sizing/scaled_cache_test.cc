#include "caching/sizing/scaled_cache.h"

#include <cmath>

#include <gtest/gtest.h>

#include "base/testing/matchers.h"
#include "caching/sizing/testing/generated_touches.h"

namespace dmcache {
namespace {

constexpr sectors block_size{128};
constexpr std::uint64_t nr_origin_blocks = 200000;

double miss_ratio(const scaled_cache &of) {
  return of.misses().all() / of.touches().all();
}

void touch(scaled_cache &copy, origin_block block, promotion possible = promotion::by_copy) {
  const std::uint64_t hash = sampling_hash(block);
  if (hash <= copy.largest_hash()) {
    copy.touch(hash, possible);
  }
}

TEST(scaled_cache_test, is_as_large_as_a_small_cache) {
  scaled_cache copy{{100, nr_origin_blocks, block_size}};
  EXPECT_EQ(copy.largest_hash(), every_hash);
  for (int round = 0; round < 2; ++round) {
    for (std::uint64_t block = 0; block < 90; ++block) {
      touch(copy, origin_block{block});
    }
  }
  EXPECT_EQ(copy.misses().reads, 90);
  EXPECT_EQ(copy.touches().reads, 180);
}

TEST(scaled_cache_test, a_copy_of_a_large_cache_misses_as_that_would) {
  constexpr std::uint64_t nr_blocks = 16000;
  const policy_geometry geometry{nr_blocks, nr_origin_blocks, block_size};
  scaled_cache copy{geometry};
  scaled_cache whole{geometry, nr_blocks};
  for (const origin_block each : generated_touches(1, 400000, nr_origin_blocks)) {
    touch(copy, each);
    touch(whole, each);
  }
  EXPECT_EQ(whole.touches().all(), 400000);
  EXPECT_LT(copy.touches().all(), 40000); // it saw a sample of them
  EXPECT_NEAR(miss_ratio(copy), miss_ratio(whole), 0.03);
}

TEST(scaled_cache_test, writes_take_more_touches_than_reads) {
  scaled_cache copy{{100, nr_origin_blocks, block_size}};
  for (std::uint64_t block = 0; block < 200; ++block) { // nothing is free any more but the reserve
    touch(copy, origin_block{block});
  }
  for (int i = 0; i < 4; ++i) {
    touch(copy, origin_block{1000}, promotion::after_write);
    touch(copy, origin_block{2000}, promotion::none);
  }
  EXPECT_EQ(copy.misses().writes, 3 + 4); // promoted at the third, and never
}

TEST(scaled_cache_test, decides_by_the_settings_of_the_cache_that_it_stands_for) {
  constexpr policy_geometry geometry{4096, nr_origin_blocks, block_size};
  sift live{geometry};
  scaled_cache copy{geometry};
  ASSERT_THAT(live.set("fill_budget", "0.001"), succeeds());
  copy.follow(live);
  // Half of four promotions are saved to begin with, and the second one takes more touches.
  const auto touch_twice = [&] {
    for (std::uint64_t block = 0; block < 4096; ++block) {
      touch(copy, origin_block{block});
      touch(copy, origin_block{block});
    }
  };
  touch_twice();
  EXPECT_EQ(copy.touches().reads, copy.misses().reads);
  ASSERT_THAT(live.set("fill_budget", "0"), succeeds());
  copy.follow(live);
  touch_twice();
  EXPECT_LT(copy.misses().reads, copy.touches().reads * 0.8);
}

} // namespace
} // namespace dmcache
