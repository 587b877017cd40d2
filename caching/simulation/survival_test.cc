// What is left after each way in which a cache can end, in each mode and with each way of tracking
// what is dirty. docs/what-survives-what.md is the table of it: a test is a row there, and its
// parameters are the columns.
#include <tuple>

#include "base/testing/matchers.h"
#include "caching/simulation/cache_test.h"
#include "caching/simulation/stamp.h"

namespace dmcache {
namespace {

using device_operation = simulated_device::operation;

class ended_cache_test : public cache_test {
 protected:
  static constexpr std::uint64_t nr_cached = 4;
  static constexpr std::uint64_t uncached = 9;
  static constexpr std::uint64_t also_uncached = 11;

  // The cache is open in the mode under test. Its first blocks are cached, the same on both devices.
  void open_with_clean_blocks() {
    open();
    for (std::uint64_t block = 0; block < nr_cached; ++block) {
      EXPECT_THAT(in->write(whole(block)), succeeds());
    }
    EXPECT_THAT(in->clean(), succeeds());
    shut_down();
    open(mode);
  }
  // Writes to a sector; the change that it makes.
  std::uint64_t change(std::uint64_t block) {
    EXPECT_THAT(in->write(part(block)), succeeds());
    return in->model().next_change() - 1;
  }
  std::uint64_t on_origin(std::uint64_t block) {
    return stamp_of(in->device(cache_device::origin).sector(part(block).begin)).change;
  }
  std::uint64_t on_fast(std::uint64_t block) {
    const cache_block at = *state().mappings->find(origin_block{block});
    const std::uint64_t sector = at.value() * block_size + part(block).begin % block_size;
    return stamp_of(in->device(cache_device::fast).sector(sector)).change;
  }
  void open_and_clean() {
    open();
    EXPECT_THAT(in->clean(), succeeds());
  }
  void dies(cache_device device) {
    for (const device_operation op :
         {device_operation::read, device_operation::write, device_operation::flush}) {
      in->device(device).add_fault({.op = op});
    }
  }

  cache_mode mode{};
};

class survival_test : public ended_cache_test,
                      public testing::WithParamInterface<std::tuple<cache_mode, dirty_tracking>> {
 protected:
  survival_test() { std::tie(mode, tracking) = GetParam(); }
};

INSTANTIATE_TEST_SUITE_P(
    modes, survival_test,
    testing::Combine(testing::Values(cache_mode::writeback, cache_mode::writethrough,
                                     cache_mode::passthrough),
                     testing::Values(dirty_tracking::exact, dirty_tracking::at_shutdown)));

TEST_P(survival_test, what_was_acknowledged_is_there_after_a_kill) {
  open_with_clean_blocks();
  const std::uint64_t hit = change(1);
  const std::uint64_t miss = change(uncached);
  in->kill();
  open_and_clean();
  EXPECT_EQ(on_origin(1), hit);
  EXPECT_EQ(on_origin(uncached), miss);
}

TEST_P(survival_test, what_was_flushed_is_there_after_a_power_cut) {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    devices.seed = seed;
    in.reset();
    open_with_clean_blocks();
    const std::uint64_t hit = change(1);
    const std::uint64_t miss = change(uncached);
    EXPECT_THAT(in->flush(), succeeds());
    in->cut_power();
    open_and_clean();
    EXPECT_EQ(on_origin(1), hit);
    EXPECT_EQ(on_origin(uncached), miss);
  }
}

TEST_P(survival_test, a_write_with_fua_is_there_after_a_power_cut) {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    devices.seed = seed;
    in.reset();
    open_with_clean_blocks();
    EXPECT_THAT(in->perform(operation::write, part(1), true), succeeds());
    const std::uint64_t written = in->model().next_change() - 1;
    in->cut_power();
    open_and_clean();
    EXPECT_EQ(on_origin(1), written);
  }
}

// What was not flushed may be lost, but nothing older than the last flush comes back.
TEST_P(survival_test, what_was_not_flushed_is_old_or_new_after_a_power_cut) {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    devices.seed = seed;
    in.reset();
    open_with_clean_blocks();
    const std::uint64_t before = change(1);
    EXPECT_THAT(in->flush(), succeeds());
    const std::uint64_t after = change(1);
    in->cut_power();
    open_and_clean();
    EXPECT_THAT(on_origin(1), testing::AnyOf(before, after));
  }
}

TEST_P(survival_test, a_dead_fast_device_costs_what_was_dirty_and_nothing_else) {
  open_with_clean_blocks();
  const std::uint64_t written = change(1);
  dies(cache_device::fast);
  EXPECT_THAT(in->read(part(2)), succeeds()); // clean
  EXPECT_THAT(in->read(part(uncached)), succeeds());
  if (mode == cache_mode::writeback) {
    EXPECT_THAT(in->read(part(1)), fails_with(std::errc::io_error));
    EXPECT_THAT(in->flush(), fails_with(std::errc::io_error));
    EXPECT_NE(on_origin(1), written);
  } else {
    EXPECT_THAT(in->read(part(1)), succeeds());
    EXPECT_EQ(on_origin(1), written);
    const std::uint64_t later = change(2);
    EXPECT_THAT(in->flush(), succeeds());
    EXPECT_EQ(on_origin(2), later);
  }
}

// Of what is dirty the metadata alone know where it is: it is on the fast device, but nobody finds it.
TEST_P(survival_test, when_the_metadata_device_dies_nothing_more_is_acknowledged) {
  open_with_clean_blocks();
  const std::uint64_t written = change(1);
  EXPECT_THAT(in->flush(), succeeds());
  dies(cache_device::metadata);
  const bool is_cached_for_good = mode != cache_mode::passthrough;
  ASSERT_EQ(is_cached(1), is_cached_for_good);
  if (tracking == dirty_tracking::at_shutdown && is_cached_for_good) {
    EXPECT_THAT(in->write(part(3)), succeeds()); // changes no mapping, and no bit
    EXPECT_THAT(in->read(part(also_uncached)), succeeds());
    in->advance(std::chrono::seconds{3}); // the promotion is to be committed
  }
  EXPECT_THAT(in->write(part(3)), fails_with(std::errc::io_error));
  EXPECT_THAT(in->read(part(uncached)), fails_with(std::errc::io_error));
  EXPECT_EQ(state().mode_of_metadata, metadata_mode::fail);
  EXPECT_EQ(mode == cache_mode::writeback ? on_fast(1) : on_origin(1), written);
}

TEST_P(survival_test, when_the_origin_dies_what_is_cached_is_there) {
  open_with_clean_blocks();
  const std::uint64_t written = change(1);
  dies(cache_device::origin);
  EXPECT_THAT(in->read(part(uncached)), fails_with(std::errc::io_error));
  EXPECT_THAT(in->write(part(also_uncached)), fails_with(std::errc::io_error));
  if (mode == cache_mode::passthrough) {
    EXPECT_THAT(in->read(part(1)), fails_with(std::errc::io_error));
    EXPECT_THAT(in->write(part(1)), fails_with(std::errc::io_error));
    return;
  }
  EXPECT_THAT(in->read(part(1)), succeeds());
  EXPECT_THAT(in->read(part(2)), succeeds());
  EXPECT_EQ(on_fast(1), written);
  if (mode == cache_mode::writeback) {
    const std::uint64_t changed = change(1);
    EXPECT_EQ(on_fast(1), changed);
  } else {
    EXPECT_THAT(in->write(part(1)), fails_with(std::errc::io_error));
    EXPECT_EQ(nr_dirty(), 1U);
  }
}

// What counts as dirty when the cache is opened again, after the death of the process and of the power.
class dirty_afterwards_test : public ended_cache_test,
                              public testing::WithParamInterface<cache_mode> {
 protected:
  dirty_afterwards_test() { mode = GetParam(); }

  void write_and_end(bool is_power_cut) {
    in.reset();
    open_with_clean_blocks();
    change(1);
    change(2);
    EXPECT_THAT(in->flush(), succeeds());
    if (is_power_cut) {
      in->cut_power();
    } else {
      in->kill();
    }
    open();
  }
};

INSTANTIATE_TEST_SUITE_P(modes, dirty_afterwards_test,
                         testing::Values(cache_mode::writeback, cache_mode::writethrough,
                                         cache_mode::passthrough));

TEST_P(dirty_afterwards_test, exact_bits_say_what_was_written_to) {
  for (const bool is_power_cut : {false, true}) {
    write_and_end(is_power_cut);
    EXPECT_EQ(nr_dirty(), mode == cache_mode::passthrough ? 0U : 2U);
    EXPECT_GT(state().mappings->nr_mapped(), nr_dirty());
  }
}

TEST_P(dirty_afterwards_test, otherwise_all_that_is_mapped_counts_as_dirty) {
  tracking = dirty_tracking::at_shutdown;
  for (const bool is_power_cut : {false, true}) {
    write_and_end(is_power_cut);
    EXPECT_EQ(nr_dirty(), state().mappings->nr_mapped());
    EXPECT_GT(nr_dirty(), 0U);
  }
}

} // namespace
} // namespace dmcache
