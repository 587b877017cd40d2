#include "caching/policy/hotspot_queue.h"

#include <utility>

#include <gtest/gtest.h>

namespace dmcache {
namespace {

using quality = hotspot_queue::quality;

constexpr std::uint64_t large_origin = std::uint64_t{1} << 48;

hotspot_queue make(std::uint64_t nr_cache_blocks, std::uint64_t nr_origin_blocks) {
  return hotspot_queue{{nr_cache_blocks, nr_origin_blocks, sectors{128}}};
}

TEST(hotspot_queue, has_an_entry_for_four_cache_blocks_but_at_least_1024) {
  EXPECT_EQ(make(1, large_origin).nr_entries(), 1024);
  EXPECT_EQ(make(4096, large_origin).nr_entries(), 1024);
  EXPECT_EQ(make(4104, large_origin).nr_entries(), 1026);
}

TEST(hotspot_queue, areas_are_of_16_blocks_or_so_few_that_they_do_not_exceed_the_origin) {
  EXPECT_EQ(make(64, large_origin).blocks_per_area(), 16);
  EXPECT_EQ(make(64, 16384).blocks_per_area(), 16);
  EXPECT_EQ(make(64, 16383).blocks_per_area(), 8);
  EXPECT_EQ(make(64, 4096).blocks_per_area(), 4);
  EXPECT_EQ(make(64, 1).blocks_per_area(), 1);
}

// As many as a 64th of the entries, but not more than would fit into the cache.
TEST(hotspot_queue, few_areas_are_hottest) {
  for (const auto &[nr_cache_blocks, nr_hottest] :
       {std::pair{64U, 4U}, {256U, 16U}, {4096U, 16U}}) {
    hotspot_queue queue{{nr_cache_blocks, large_origin, sectors{128}}};
    for (std::uint64_t area = 0; area <= nr_hottest; ++area) {
      queue.miss(origin_block{area * 16});
    }
    queue.end_period();
    unsigned nr_found = 0;
    for (std::uint64_t area = 0; area <= nr_hottest; ++area) {
      nr_found += queue.miss(origin_block{area * 16}) >= 56 ? 1U : 0U;
    }
    EXPECT_EQ(nr_found, nr_hottest);
  }
}

class hotspot_queue_test : public testing::Test {
 protected:
  std::uint32_t miss(std::uint64_t area) { return queue_.miss(origin_block{area * 16}); }
  // A period in which the area was missed `high` times, and others `low` times.
  quality after_period(std::uint64_t area, unsigned high, unsigned low) {
    for (unsigned i = 0; i < high; ++i) {
      EXPECT_GE(miss(area), 48);
    }
    for (unsigned i = 0; i < low; ++i) {
      miss(1'000'000 + next_++);
    }
    queue_.end_period();
    return queue_.last_quality();
  }
  // Rises as long as it takes.
  void make_high(std::uint64_t area) {
    while (miss(area) < 56) {
      queue_.end_period();
    }
    queue_.end_period();
  }

  hotspot_queue queue_ = make(64, large_origin);
  std::uint64_t next_ = 0;
};

TEST_F(hotspot_queue_test, blocks_of_an_area_count_together) {
  EXPECT_EQ(queue_.miss(origin_block{32}), 0);
  EXPECT_EQ(queue_.miss(origin_block{47}), 4);
  EXPECT_EQ(queue_.miss(origin_block{48}), 0);
}

TEST_F(hotspot_queue_test, rises_once_a_period) {
  EXPECT_EQ(miss(1), 0);
  EXPECT_EQ(miss(1), 4);
  EXPECT_EQ(miss(1), 4);
  queue_.end_period(); // which evens: the only one goes to level 56
  EXPECT_EQ(miss(1), 60);
  EXPECT_EQ(miss(1), 60);
}

TEST_F(hotspot_queue_test, quality_is_the_share_of_misses_that_were_foretold) {
  EXPECT_EQ(queue_.last_quality(), quality::poor);
  make_high(1);
  EXPECT_EQ(after_period(1, 15, 241), quality::poor);
  make_high(1);
  EXPECT_EQ(after_period(1, 16, 240), quality::fair);
  make_high(1);
  EXPECT_EQ(after_period(1, 31, 225), quality::fair);
  make_high(1);
  EXPECT_EQ(after_period(1, 32, 224), quality::well);
  queue_.end_period(); // in which nothing was missed
  EXPECT_EQ(queue_.last_quality(), quality::poor);
}

TEST_F(hotspot_queue_test, a_miss_is_foretold_from_level_48_on) {
  for (std::uint64_t area = 0; area < 564; ++area) { // 10 for each level, 4 for the top ones
    miss(area);
  }
  queue_.end_period();
  // The levels are even now, and remain so: each area stays where its last miss brought it.
  for (const auto &[level, foretold] : {std::pair{47U, quality::poor}, {48U, quality::well}}) {
    std::uint64_t area = level; // another one for each
    std::uint32_t at = miss(area);
    while (at > level || at % 4 != level % 4) {
      at = miss(++area);
    }
    queue_.end_period();
    queue_.end_period(); // in which nothing was missed, so that areas rise by 4 again
    while (at < level) {
      at = miss(area);
      queue_.end_period();
    }
    EXPECT_EQ(miss(area), level + 4);
    queue_.end_period();
    EXPECT_EQ(queue_.last_quality(), foretold);
  }
}

TEST_F(hotspot_queue_test, the_better_the_levels_are_the_less_they_change) {
  make_high(1);
  ASSERT_EQ(after_period(1, 16, 240), quality::fair);
  const std::uint32_t fair_level = miss(5);
  EXPECT_EQ(miss(5), fair_level + 2);
  make_high(1);
  ASSERT_EQ(after_period(1, 200, 50), quality::well);
  const std::uint32_t well_level = miss(6);
  EXPECT_EQ(miss(6), well_level + 1);
}

TEST_F(hotspot_queue_test, the_oldest_of_the_lowest_level_is_forgotten_first) {
  for (std::uint64_t area = 0; area < 1024; ++area) {
    miss(area);
  }
  miss(0);    // rises
  miss(5000); // for 1
  EXPECT_EQ(miss(0), 4);
  EXPECT_EQ(miss(1), 0); // for 2
  EXPECT_EQ(miss(1), 4);
  EXPECT_EQ(miss(2), 0);
}

TEST_F(hotspot_queue_test, a_forgotten_area_leaves_no_hit_behind) {
  for (std::uint64_t area = 0; area < 1024; ++area) {
    miss(area);
  }
  miss(0);
  miss(1); // 0 comes down for it
  for (std::uint64_t area = 2000; area < 2000 + 1022; ++area) {
    miss(area); // for 2 and those after it
  }
  EXPECT_EQ(miss(9000), 0); // for 0
  EXPECT_EQ(miss(9000), 4);
}

} // namespace
} // namespace dmcache
