#include "caching/replay/lru_cache.h"

#include <gtest/gtest.h>

namespace dmcache {
namespace {

// A cache of two blocks, requests to which are told by origin blocks.
class lru_cache_test : public testing::Test {
 protected:
  static constexpr std::uint64_t block_size = 32768;

  void open(replay_mode mode, std::uint64_t delay) {
    cache_.emplace(policy_geometry{2, 1000, sectors{block_size / sector_size}}, mode, delay);
  }
  void read(std::uint64_t block, double time = 0) { request(block, false, 4096, time); }
  void write(std::uint64_t block, std::uint64_t length) { request(block, true, length, 0); }
  void request(std::uint64_t block, bool is_write, std::uint64_t length, double time) {
    cache_->request({time, is_write, sectors{block * block_size / sector_size}, bytes{length}});
  }
  const replay_counts &counts() const { return cache_->counts(); }

  std::optional<lru_cache> cache_;
};

TEST_F(lru_cache_test, the_least_recently_used_block_makes_room) {
  open(replay_mode::writeback, 0);
  read(1);
  read(2);
  read(1);
  read(3);
  EXPECT_EQ(counts().nr_demotions, 1);
  read(1);
  read(3);
  EXPECT_EQ(counts().nr_hits, 3);
  read(2);
  EXPECT_EQ(counts().nr_misses, 4);
  EXPECT_EQ(counts().nr_promotions, 4);
  EXPECT_EQ(counts().nr_demotions, 2);
  EXPECT_EQ(counts().nr_written_back, 0);
}

TEST_F(lru_cache_test, one_request_can_push_out_what_it_brought) {
  open(replay_mode::writeback, 0);
  request(0, false, 3 * block_size, 0);
  EXPECT_EQ(counts().nr_promotions, 3);
  EXPECT_EQ(counts().nr_demotions, 1);
  read(2);
  EXPECT_EQ(counts().nr_hits, 1);
}

TEST_F(lru_cache_test, fills_and_write_hits_write_to_the_fast_device) {
  open(replay_mode::writeback, 0);
  read(1);
  write(1, 512);
  read(1);
  EXPECT_EQ(counts().written_to_fast, block_size + 512);
}

TEST_F(lru_cache_test, what_is_dirty_is_written_back_when_it_leaves) {
  for (const auto mode : {replay_mode::writeback, replay_mode::writethrough}) {
    open(mode, 0);
    write(1, block_size); // is dirty from the start, as the write covers it
    write(2, 512);        // went to the origin, and is clean
    read(3);
    EXPECT_EQ(counts().nr_written_back, mode == replay_mode::writeback ? 1 : 0);
    read(4);
    EXPECT_EQ(counts().nr_written_back, mode == replay_mode::writeback ? 1 : 0);
    write(3, 512);
    read(4);
    read(5);
    EXPECT_EQ(counts().nr_written_back, mode == replay_mode::writeback ? 2 : 0);
    EXPECT_EQ(counts().nr_demotions, 3);
  }
}

TEST_F(lru_cache_test, a_promotion_takes_its_time) {
  open(replay_mode::writeback, 2);
  read(1);
  read(1);
  read(1);
  EXPECT_EQ(counts().nr_misses, 3);
  read(1);
  EXPECT_EQ(counts().nr_hits, 1);
  EXPECT_EQ(counts().nr_promotions, 1);
}

TEST_F(lru_cache_test, what_is_being_promoted_does_not_leave) {
  open(replay_mode::writeback, 10);
  read(1);
  read(2);
  read(3);
  EXPECT_EQ(counts().nr_promotions, 2);
  EXPECT_EQ(counts().nr_demotions, 0);
}

TEST_F(lru_cache_test, a_second_without_requests_ends_promotions) {
  open(replay_mode::writeback, 10);
  read(1, 5.5);
  read(1, 6.4);
  read(1, 7.3); // half a second after the last one it was 7
  EXPECT_EQ(counts().nr_hits, 0);
  read(1, 9);
  EXPECT_EQ(counts().nr_hits, 1);
}

} // namespace
} // namespace dmcache
