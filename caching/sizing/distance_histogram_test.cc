#include "caching/sizing/distance_histogram.h"

#include <gtest/gtest.h>

namespace dmcache {
namespace {

TEST(distance_histogram_test, short_distances_are_exact) {
  distance_histogram histogram;
  for (std::uint64_t each = 0; each < 128; ++each) {
    histogram.add(static_cast<double>(each), 1);
  }
  for (std::uint64_t end = 0; end <= 128; ++end) {
    EXPECT_EQ(histogram.below(end), static_cast<double>(end));
  }
}

TEST(distance_histogram_test, long_distances_are_right_to_one_part_in_64) {
  for (std::uint64_t distance = 128; distance < std::uint64_t{1} << 39; distance += distance / 3) {
    distance_histogram histogram;
    histogram.add(static_cast<double>(distance), 1);
    EXPECT_EQ(histogram.below(distance - distance / 64), 0) << distance;
    EXPECT_EQ(histogram.below(distance + distance / 64 + 1), 1) << distance;
  }
}

TEST(distance_histogram_test, a_bucket_is_spread_over_its_distances) {
  distance_histogram histogram;
  histogram.add(4096, 1); // in a bucket of 64 distances
  EXPECT_EQ(histogram.below(4096 + 32), 0.5);
}

TEST(distance_histogram_test, what_is_beyond_all_buckets_counts_as_very_far) {
  distance_histogram histogram;
  histogram.add(1e30, 1);
  EXPECT_EQ(histogram.below(std::uint64_t{1} << 40), 0);
  EXPECT_EQ(histogram.below(std::uint64_t{1} << 42), 1);
}

TEST(distance_histogram_test, what_was_there_counts_half_from_then_on) {
  distance_histogram histogram;
  histogram.add(1, 4);
  histogram.halve();
  histogram.add(1, 1);
  EXPECT_EQ(histogram.below(2), 3);
}

} // namespace
} // namespace dmcache
