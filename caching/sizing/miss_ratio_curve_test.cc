#include "caching/sizing/miss_ratio_curve.h"

#include <array>
#include <cmath>
#include <list>
#include <unordered_map>

#include <gtest/gtest.h>

#include "caching/sizing/testing/generated_touches.h"

namespace dmcache {
namespace {

// Of each touch that there was, the share that misses a cache of so many blocks, which replaces what was
// touched longest ago.
double exact_miss_ratio(const std::vector<origin_block> &touched, std::uint64_t nr_blocks) {
  std::list<origin_block> kept; // the newest first
  std::unordered_map<std::uint64_t, std::list<origin_block>::iterator> places;
  double misses = 0;
  for (const origin_block each : touched) {
    if (const auto found = places.find(each.value()); found != places.end()) {
      kept.splice(kept.begin(), kept, found->second);
      continue;
    }
    ++misses;
    if (kept.size() == nr_blocks) {
      places.erase(kept.back().value());
      kept.pop_back();
    }
    kept.push_front(each);
    places.emplace(each.value(), kept.begin());
  }
  return misses / static_cast<double>(touched.size());
}

class miss_ratio_curve_test : public testing::Test {
 protected:
  void touch(origin_block block, bool is_read = true) {
    (is_read ? all_.reads : all_.writes) += 1;
    const std::uint64_t hash = sampling_hash(block);
    if (hash <= curve_.largest_hash()) {
      curve_.touch(hash, is_read);
    }
  }
  void touch_all(const std::vector<origin_block> &blocks) {
    for (const origin_block each : blocks) {
      touch(each);
    }
  }
  double miss_ratio(std::uint64_t nr_blocks) const {
    return curve_.misses(nr_blocks, all_).all() / all_.all();
  }

  miss_ratio_curve curve_;
  touch_counts all_;
};

TEST_F(miss_ratio_curve_test, is_exact_while_all_blocks_are_samples) {
  const auto touched = generated_touches(1, 20000, 100);
  touch_all(touched);
  for (const std::uint64_t nr_blocks : {1U, 2U, 10U, 50U, 99U, 100U, 1000U}) {
    EXPECT_NEAR(miss_ratio(nr_blocks), exact_miss_ratio(touched, nr_blocks), 1e-9) << nr_blocks;
  }
}

TEST_F(miss_ratio_curve_test, is_within_one_percent_on_average_from_a_sample) {
  constexpr std::uint64_t nr_blocks = 150000;
  for (const std::uint64_t seed : {1U, 2U}) {
    curve_ = miss_ratio_curve{};
    all_ = {};
    const auto touched = generated_touches(seed, 200000, nr_blocks);
    touch_all(touched);
    EXPECT_LT(share_of_samples(curve_.largest_hash()), 0.3); // it is one
    double error = 0;
    constexpr std::array<std::uint64_t, 4> sizes{1000, 5000, 15000, 30000};
    for (const std::uint64_t size : sizes) {
      error += std::abs(miss_ratio(size) - exact_miss_ratio(touched, size));
    }
    EXPECT_LT(error / sizes.size(), 0.01) << "seed " << seed;
  }
}

// 100,000 blocks again and again: LRU misses all of them, until it holds all.
TEST_F(miss_ratio_curve_test, knows_that_a_loop_needs_all_of_it) {
  for (int round = 0; round < 10; ++round) {
    for (std::uint64_t block = 0; block < 100000; ++block) {
      touch(origin_block{block});
    }
  }
  EXPECT_GT(miss_ratio(90000), 0.99);
  EXPECT_LT(miss_ratio(110000), 0.11);
}

TEST_F(miss_ratio_curve_test, reads_and_writes_are_told_apart) {
  for (int round = 0; round < 10; ++round) {
    for (std::uint64_t block = 0; block < 10; ++block) {
      touch(origin_block{block});
    }
    touch(origin_block{1000}, false);
    touch(origin_block{1000}, false);
  }
  const touch_counts misses = curve_.misses(5, all_);
  EXPECT_EQ(misses.reads, 100);
  EXPECT_EQ(misses.writes, 10);
}

TEST_F(miss_ratio_curve_test, a_write_brings_a_block_in_that_is_read_next) {
  touch(origin_block{1}, false);
  touch(origin_block{1});
  EXPECT_EQ(curve_.misses(1, all_).reads, 0);
}

TEST_F(miss_ratio_curve_test, knows_no_more_blocks_than_it_has_room_for) {
  for (std::uint64_t block = 0; block < 1000000; ++block) {
    touch(origin_block{block});
  }
  const double share = share_of_samples(curve_.largest_hash());
  EXPECT_NEAR(share * 1000000, miss_ratio_curve::max_samples, miss_ratio_curve::max_samples / 10.);
  EXPECT_NEAR(miss_ratio(1000000), 1, 0.001);
}

TEST_F(miss_ratio_curve_test, what_is_old_counts_less) {
  for (std::uint64_t block = 0; block < 1000; ++block) {
    touch(origin_block{block});
  }
  for (int day = 0; day < 10; ++day) {
    curve_.halve();
    all_.halve();
  }
  for (int i = 0; i < 1000; ++i) {
    touch(origin_block{0});
  }
  EXPECT_LT(miss_ratio(1000), 0.01);
}

} // namespace
} // namespace dmcache
