// A cache under load: who waits for whom, and how long; case 8 in caching/engine/engine.md.
#include <numeric>

#include "base/testing/matchers.h"
#include "caching/simulation/cache_test.h"

namespace dmcache {
namespace {

class load_test : public cache_test {
 protected:
  static constexpr instant fast_time = std::chrono::microseconds{100};
  static constexpr instant origin_time = std::chrono::milliseconds{5};

  load_test() { make_with(256); }

  void make_with(std::uint64_t nr_origin_blocks) {
    devices.fast_size = blocks(64);
    devices.origin_size = blocks(nr_origin_blocks);
    devices.has_whole_sectors = false;
    make();
    const auto always = [](instant time) { return io_latency{time, time, 0, {}}; };
    in->carrier().set_latency(cache_device::fast, always(fast_time));
    in->carrier().set_latency(cache_device::origin, always(origin_time));
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

TEST_F(load_test, a_fua_hit_waits_neither_for_the_origin_nor_for_the_metadata) {
  fill();
  for (std::uint64_t block = 0; block < 8; ++block) { // so that their dirty bits are on disk
    EXPECT_THAT(in->write(part(block)), succeeds());
  }
  for (std::uint64_t block = 0; block < 8; ++block) {
    EXPECT_THAT(in->write(part(200 + block)), succeeds()); // for the origin to flush
    in->submit(operation::flush, {});
    const instant start = in->now();
    EXPECT_THAT(in->perform(operation::write, part(block), true), succeeds());
    EXPECT_THAT(in->perform(operation::write, part(block), true), succeeds());
    EXPECT_LE(in->now() - start, 5 * fast_time);
    EXPECT_NE(in->nr_under_way(), 0U); // the other one still waits
    in->finish();
  }
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

// Takes long: its blocks are many times those that are under way at a time.
class bulk_test : public load_test {
 protected:
  static constexpr std::uint64_t nr_blocks = 4096;
  static constexpr std::uint64_t nr_bulk = nr_blocks - 64; // beyond those that the tests cache

  bulk_test() {
    make_with(nr_blocks);
    fill();
    policy->promotes = false;
  }
  sector_range bulk() const { return whole(64, nr_bulk); }
  std::uint64_t nr_zeroings() { return nr_ios(cache_device::origin, operation::write_zeroes); }
};

TEST_F(bulk_test, hits_pass_another_client_s_bulk_request) {
  for (const operation op : {operation::write_zeroes, operation::discard, operation::prefetch}) {
    in->submit(op, bulk());
    EXPECT_EQ(slow_hit(operation::read, 100), fast_time);
    EXPECT_EQ(slow_hit(operation::write, 100), fast_time);
    EXPECT_TRUE(in->finish());
  }
}

TEST_F(bulk_test, requests_of_several_blocks_pass_it_as_well) {
  in->submit(operation::write_zeroes, bulk());
  const instant start = in->now();
  EXPECT_THAT(in->read(whole(0, 8)), succeeds());
  EXPECT_EQ(in->now() - start, fast_time);
  EXPECT_THAT(in->read(whole(60, 3)), succeeds());
  EXPECT_EQ(in->now() - start, fast_time + origin_time);
  EXPECT_GT(in->nr_under_way(), 0U);
}

TEST_F(bulk_test, it_goes_in_slices_of_which_two_are_under_way) {
  constexpr std::uint64_t slice = data_path::max_pieces / 2;
  const instant start = in->now();
  EXPECT_THAT(in->perform(operation::write_zeroes, bulk()), succeeds());
  EXPECT_EQ(nr_zeroings(), 1 + (nr_bulk - 2 * slice) / slice);
  EXPECT_LE(in->now() - start, origin_time * nr_zeroings());
}

TEST_F(bulk_test, two_of_them_go_on_side_by_side) {
  const instant start = in->now();
  in->submit(operation::write_zeroes, whole(64, nr_bulk / 2));
  EXPECT_THAT(in->perform(operation::write_zeroes, whole(64 + nr_bulk / 2, nr_bulk / 2)),
              succeeds());
  EXPECT_TRUE(in->finish());
  EXPECT_LE(in->now() - start, origin_time * nr_zeroings() / 2);
}

TEST_F(bulk_test, what_overlaps_its_rest_waits_and_what_overlaps_that_waits_as_well) {
  const sector_range last = part(nr_blocks - 1);
  in->submit(operation::write_zeroes, bulk());
  in->submit(operation::write, {last.begin - 2, last.end});
  const instant start = in->now();
  EXPECT_THAT(in->read({last.begin - 3, last.end - 1}), succeeds()); // zeroes, and what was written
  EXPECT_GE(in->now() - start, origin_time * nr_bulk / data_path::max_pieces);
  EXPECT_THAT(in->read(last), succeeds());
}

// It waits for nothing but what is still to come of those before it.
TEST_F(bulk_test, what_it_has_done_already_is_free) {
  in->submit(operation::write_zeroes, bulk());
  while (nr_zeroings() < 3) {
    ASSERT_TRUE(in->step());
  }
  const instant start = in->now();
  EXPECT_THAT(in->write(part(64)), succeeds());
  EXPECT_EQ(in->now() - start, origin_time);
}

TEST_F(bulk_test, reads_of_the_same_range_do_not_wait_for_each_other) {
  in->submit(operation::prefetch, bulk());
  const instant start = in->now();
  EXPECT_THAT(in->read(part(nr_blocks - 1)), succeeds());
  EXPECT_EQ(in->now() - start, origin_time);
}

// Written while the discard was under way: not discarded.
TEST_F(bulk_test, what_is_written_beside_a_discard_is_not_discarded) {
  in->submit(operation::discard, bulk());
  in->submit(operation::write, whole(nr_blocks - 1));
  EXPECT_TRUE(in->finish());
  const std::uint64_t per_block = state().discards->block_size().value() / block_size;
  EXPECT_TRUE(state().discards->test((nr_blocks - 2) / per_block - 1));
  EXPECT_FALSE(state().discards->test((nr_blocks - 1) / per_block));
  EXPECT_THAT(in->read(whole(nr_blocks - 1)), succeeds());
}

TEST_F(load_test, a_block_that_is_being_promoted_serves_the_reads_that_come_meanwhile) {
  open();
  in->submit(operation::read, part(3));
  in->submit(operation::read, whole(3));
  ASSERT_TRUE(in->settle());
  EXPECT_EQ(nr_ios(cache_device::origin, operation::read), 1U);
}

TEST_F(load_test, what_waits_for_an_idle_cache_waits_as_long_as_requests_come) {
  open();
  make_dirty(0);
  for (int i = 0; i < 50; ++i) {
    EXPECT_THAT(in->read(part(0)), succeeds());
    ASSERT_TRUE(in->advance(std::chrono::milliseconds{100}));
  }
  EXPECT_EQ(nr_dirty(), 1U);
  ASSERT_TRUE(in->advance(std::chrono::seconds{5}));
  EXPECT_EQ(nr_dirty(), 0U);
}

} // namespace
} // namespace dmcache
