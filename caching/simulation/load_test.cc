// A cache under load: who waits for whom, and how long; case 8 in caching/engine/engine.md.
#include <numeric>

#include "base/testing/matchers.h"
#include "caching/simulation/cache_test.h"

namespace dmcache {
namespace {

class load_test : public cache_test {
 protected:
  static constexpr instant fast_time = std::chrono::microseconds{100};

  load_test() {
    devices.fast_size = blocks(64);
    devices.origin_size = blocks(256);
    devices.has_whole_sectors = false;
    make();
    const auto always = [](instant time) { return io_latency{time, time, 0, {}}; };
    in->carrier().set_latency(cache_device::fast, always(fast_time));
    in->carrier().set_latency(cache_device::origin, always(std::chrono::milliseconds{5}));
    in->carrier().set_latency(cache_device::metadata, always(std::chrono::milliseconds{1}));
  }

  // The 99th percentile of the time that hits of blocks 0 to 15 take, one after the other.
  instant slow_hit(operation op, int count) {
    std::vector<instant> times;
    for (int i = 0; i < count; ++i) {
      const instant start = in->now();
      EXPECT_THAT(in->perform(op, part(static_cast<std::uint64_t>(i) % 16)), succeeds());
      times.push_back(in->now() - start);
    }
    std::ranges::sort(times);
    return times.at(times.size() * 99 / 100);
  }
  void fill() {
    open();
    for (std::uint64_t block = 0; block < 16; ++block) {
      cache(block);
    }
    EXPECT_THAT(in->flush(), succeeds());
  }
};

TEST_F(load_test, a_hit_takes_as_long_as_the_fast_device) {
  fill();
  EXPECT_EQ(slow_hit(operation::read, 500), fast_time);
  EXPECT_EQ(slow_hit(operation::write, 500), fast_time);
}

TEST_F(load_test, hits_are_as_fast_while_commits_are_under_way) {
  fill();
  for (int i = 0; i < 50; ++i) {
    cache(16);
    in->submit(operation::flush, {});
    EXPECT_LE(slow_hit(operation::read, 20), 2 * fast_time);
    EXPECT_LE(slow_hit(operation::write, 20), 2 * fast_time);
    in->finish();
    EXPECT_THAT(in->clean(), succeeds());
    policy->demote(16);
    in->advance(std::chrono::seconds{2});
  }
}

TEST_F(load_test, hits_are_as_fast_while_other_blocks_are_promoted_and_written_back) {
  fill();
  for (std::uint64_t block = 16; block < 60; ++block) {
    in->submit(operation::read, part(block));
    EXPECT_LE(slow_hit(operation::read, 40), 2 * fast_time);
    EXPECT_LE(slow_hit(operation::write, 40), 2 * fast_time);
    in->finish();
    EXPECT_THAT(in->write(part(block)), succeeds());
    policy->write_back(block);
  }
}

// Of the blocks that move themselves, reads of those being copied aren't held up either.
TEST_F(load_test, reads_of_a_block_that_is_written_back_are_as_fast) {
  fill();
  for (std::uint64_t block = 0; block < 16; ++block) {
    EXPECT_THAT(in->write(part(block)), succeeds());
    policy->write_back(block);
    in->advance(std::chrono::microseconds{1});
  }
  EXPECT_LE(slow_hit(operation::read, 200), 2 * fast_time);
}

// 8.
TEST_F(load_test, the_cleaner_writes_everything_back_under_load) {
  fill();
  for (std::uint64_t block = 0; block < 16; ++block) {
    EXPECT_THAT(in->write(part(block)), succeeds());
  }
  EXPECT_EQ(nr_dirty(), 16U);
  engine_options cleaner = options();
  cleaner.policy = "cleaner";
  EXPECT_THAT(in->reload(cleaner), succeeds());
  const instant start = in->now();
  while (nr_dirty() != 0 && in->now() - start < std::chrono::seconds{5}) {
    in->submit(operation::read, part(in->nr_under_way() % 16));
    while (in->nr_under_way() >= 8 && in->step()) {
    }
  }
  EXPECT_EQ(nr_dirty(), 0U);
}

// 8.
TEST_F(load_test, a_flush_of_a_clean_cache_does_nothing) {
  fill();
  in->advance(std::chrono::seconds{2});
  const instant start = in->now();
  EXPECT_THAT(in->flush(), succeeds());
  EXPECT_EQ(in->now(), start);
}

TEST_F(load_test, flushes_share_commits) {
  fill();
  const std::uint64_t before = in->engine().counts().commits;
  for (std::uint64_t block = 16; block < 48; ++block) {
    cache(block);
  }
  for (int i = 0; i < 100; ++i) {
    in->submit(operation::flush, {});
  }
  EXPECT_TRUE(in->finish());
  EXPECT_LE(in->engine().counts().commits - before, 2U);
}

} // namespace
} // namespace dmcache
