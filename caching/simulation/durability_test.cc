// What is suspected of the kernel's target, and what has been wrong with its commits: cases S1 to
// S4, 6, 10 and 14 in caching/engine/engine.md, whose numbers stand before the tests.
#include "base/testing/matchers.h"
#include "caching/simulation/cache_test.h"

namespace dmcache {
namespace {

using device_operation = simulated_device::operation;

class durability_test : public cache_test {
 protected:
  static constexpr std::uint64_t trials = 20; // each loses something else

  void with_seed(std::uint64_t seed) {
    devices.seed = seed;
    others_dirty = 0;
    make();
  }
  void fail(cache_device on, device_operation op, bytes begin = {}) {
    in->device(on).add_fault({.op = op, .begin = begin});
  }
};

// S1.
TEST_F(durability_test, a_fua_write_that_promotes_its_block_is_durable_when_it_completes) {
  for (std::uint64_t seed = 0; seed < trials; ++seed) {
    with_seed(seed);
    open();
    EXPECT_THAT(in->perform(operation::write, whole(5), true), succeeds());
    EXPECT_TRUE(is_cached(5));
    EXPECT_EQ(in->engine().counts().promotions, 1U);
    in->cut_power();
    EXPECT_TRUE(is_mapped_on_media(5));
    ASSERT_FALSE(in->is_over()) << *in->violation();
  }
}

// S1, for a block that was promoted by a read, and is not committed yet.
TEST_F(durability_test, a_fua_write_to_a_new_block_is_durable_when_it_completes) {
  tracking = dirty_tracking::at_shutdown;
  for (std::uint64_t seed = 0; seed < trials; ++seed) {
    with_seed(seed);
    open();
    cache(5);
    EXPECT_EQ(in->engine().counts().commits, 0U);
    constexpr instant slow = std::chrono::milliseconds{10};
    in->carrier().set_latency(cache_device::metadata, {slow, slow, 0, {}});
    EXPECT_THAT(in->perform(operation::write, part(5), true), succeeds());
    in->cut_power();
    EXPECT_TRUE(is_mapped_on_media(5));
    ASSERT_FALSE(in->is_over()) << *in->violation();
  }
}

// S2.
TEST_F(durability_test, what_was_invalidated_does_not_come_back_after_a_power_cut) {
  for (std::uint64_t seed = 0; seed < trials; ++seed) {
    with_seed(seed);
    open();
    EXPECT_THAT(in->write(whole(3)), succeeds());
    EXPECT_THAT(in->clean(), succeeds());
    shut_down();
    open(cache_mode::passthrough);
    EXPECT_THAT(in->message({"invalidate_cblocks", "0-8"}), succeeds());
    EXPECT_THAT(in->write(part(3)), succeeds());
    in->cut_power();
    EXPECT_FALSE(is_mapped_on_media(3));
    ASSERT_FALSE(in->is_over()) << *in->violation();
  }
}

// S3.
TEST_F(durability_test, a_change_of_the_mappings_is_committed_after_a_second_though_nobody_waits) {
  open();
  cache(5);
  EXPECT_EQ(in->engine().counts().commits, 0U);
  in->advance(std::chrono::milliseconds{1100});
  EXPECT_EQ(in->engine().counts().commits, 1U);
  in->cut_power();
  EXPECT_TRUE(is_mapped_on_media(5));
}

// S4.
TEST_F(durability_test, a_power_cut_in_passthrough_mode_does_not_bring_back_what_is_older) {
  for (std::uint64_t events = 0; events < 30; ++events) {
    with_seed(events);
    open();
    EXPECT_THAT(in->write(whole(3)), succeeds());
    EXPECT_THAT(in->clean(), succeeds());
    shut_down();
    open(cache_mode::passthrough);
    in->submit(operation::write, part(3), true);
    in->cut_power_in(events);
    in->finish();
    in->cut_power();
    open();
    EXPECT_THAT(in->clean(), succeeds()); // whatever is mapped goes to the origin
    in->read_everything();
    ASSERT_FALSE(in->is_over()) << *in->violation();
  }
}

// The rule that the kernel lacks: nothing in the metadata claims what a device could still lose.
TEST_F(durability_test, a_promoted_block_is_on_the_fast_device_before_it_is_mapped_on_disk) {
  for (std::uint64_t seed = 0; seed < trials; ++seed) {
    with_seed(seed);
    open();
    EXPECT_THAT(in->perform(operation::write, whole(2), true), succeeds());
    cache(2);
    EXPECT_THAT(in->flush(), succeeds());
    policy->promotes = true;
    cache(3);
    in->advance(std::chrono::seconds{2});
    in->cut_power();
    EXPECT_TRUE(is_mapped_on_media(3));
    ASSERT_FALSE(in->is_over()) << *in->violation();
  }
}

// 6.
TEST_F(durability_test, metadata_that_cannot_be_written_are_given_up_and_say_so) {
  open();
  cache(1);
  EXPECT_THAT(in->flush(), succeeds());
  cache(2);
  fail(cache_device::metadata, device_operation::write, bytes{metadata_block_size});
  EXPECT_THAT(in->flush(), fails_with(std::errc::io_error));
  EXPECT_EQ(state().mode_of_metadata, metadata_mode::read_only);
  EXPECT_THAT(in->flush(), succeeds());
  EXPECT_THAT(in->perform(operation::write, part(1), true), succeeds());
  EXPECT_THAT(in->read(part(1)), succeeds());
  EXPECT_THAT(in->write(part(1)), succeeds());
  EXPECT_THAT(in->read(part(2)), succeeds());
  EXPECT_THAT(in->read(part(9)), succeeds());
  EXPECT_FALSE(is_cached(9));
  EXPECT_THAT(in->message({"migration_threshold", "0"}), fails_with(failure::failed));
  EXPECT_THAT(in->shut_down(), fails_with(failure::environment));
  EXPECT_TRUE(in->media().block.is_needs_check());
  EXPECT_TRUE(is_mapped_on_media(1));
  EXPECT_FALSE(is_mapped_on_media(2));
  EXPECT_NE(refusal(options()).find("NEEDS_CHECK is set"), std::string::npos);
  in->mend();
  open();
}

// 6, to its end.
TEST_F(durability_test, if_not_even_that_can_be_said_nothing_is_served_any_more) {
  open();
  cache(1);
  fail(cache_device::metadata, device_operation::write);
  EXPECT_THAT(in->flush(), fails_with(std::errc::io_error));
  EXPECT_EQ(state().mode_of_metadata, metadata_mode::fail);
  EXPECT_THAT(in->read(part(1)), fails_with(std::errc::io_error));
  EXPECT_THAT(in->write(part(9)), fails_with(std::errc::io_error));
  EXPECT_THAT(in->flush(), fails_with(std::errc::io_error));
  EXPECT_THAT(in->shut_down(), fails_with(failure::environment));
  if (in->media().block.is_needs_check()) { // a write that failed may have been made
    in->mend();
  }
  open();
}

// 10.
TEST_F(durability_test, a_cache_in_use_is_not_cleanly_shut_down_whatever_it_commits) {
  tracking = dirty_tracking::at_shutdown;
  open();
  cache(1);
  shut_down();
  EXPECT_TRUE(in->media().block.is_clean());
  open();
  in->cut_power();
  EXPECT_FALSE(in->media().block.is_clean());
  open();
  shut_down();
  EXPECT_TRUE(in->media().block.is_clean());
  open();
  cache(2);
  EXPECT_THAT(in->flush(), succeeds());
  in->cut_power();
  EXPECT_FALSE(in->media().block.is_clean());
}

// 14.
TEST_F(durability_test, the_superblock_is_not_written_after_a_write_that_failed) {
  for (std::uint64_t seed = 0; seed < trials; ++seed) {
    with_seed(seed);
    open();
    cache(1);
    EXPECT_THAT(in->flush(), succeeds());
    cache(2);
    in->device(cache_device::metadata)
        .add_fault({.op = device_operation::write,
                    .begin = bytes{metadata_block_size},
                    .one_in = 2,
                    .at_most = 1});
    const bool is_committed = !in->flush();
    in->cut_power();
    EXPECT_EQ(is_mapped_on_media(2), is_committed);
    EXPECT_EQ(in->media().block.is_needs_check(), !is_committed);
    ASSERT_FALSE(in->is_over()) << *in->violation();
  }
}

// 14, for the flush that comes before it.
TEST_F(durability_test, the_superblock_is_not_written_after_a_flush_that_failed) {
  with_seed(1);
  open();
  cache(2);
  in->device(cache_device::metadata).add_fault({.op = device_operation::flush, .at_most = 1});
  EXPECT_THAT(in->flush(), fails_with(std::errc::io_error));
  in->cut_power();
  EXPECT_FALSE(is_mapped_on_media(2));
  EXPECT_TRUE(in->media().block.is_needs_check());
}

// And it claims nothing of what the fast device may have lost.
TEST_F(durability_test, a_block_that_a_failed_flush_may_have_lost_is_never_claimed) {
  with_seed(1);
  open();
  cache(2);
  in->device(cache_device::fast).add_fault({.op = device_operation::flush, .at_most = 1});
  EXPECT_THAT(in->flush(), succeeds()); // the origin has it all
  EXPECT_FALSE(is_cached(2));
  EXPECT_EQ(state().mode_of_metadata, metadata_mode::write);
  in->cut_power();
  EXPECT_FALSE(is_mapped_on_media(2));
  EXPECT_FALSE(in->media().block.is_needs_check());
}

// Nor in the midst of that.
TEST_F(durability_test, at_no_instant_is_it_claimed) {
  constexpr std::uint64_t most_events = 40;
  devices.fast.failed_flush_loses = true;
  bool is_flushed = false;
  for (std::uint64_t events = 1; events < most_events; ++events) {
    with_seed(events);
    open();
    cache(2);
    in->device(cache_device::fast).add_fault({.op = device_operation::flush, .at_most = 1});
    in->cut_power_in(events);
    in->submit(operation::flush, {});
    in->finish();
    is_flushed = !in->is_power_cut();
    if (is_flushed) {
      break;
    }
    in->take_down();
    EXPECT_FALSE(is_mapped_on_media(2)) << events;
    open();
    in->read_everything();
    ASSERT_FALSE(in->is_over()) << *in->violation();
  }
  EXPECT_TRUE(is_flushed);
}

// The two wait together for what is being committed before them.
TEST_F(durability_test, a_flush_beside_a_fua_write_flushes_the_origin_all_the_same) {
  constexpr instant slow = std::chrono::milliseconds{50}; // and the cache isn't idle yet
  for (std::uint64_t seed = 0; seed < trials; ++seed) {
    with_seed(seed);
    open();
    make_dirty(1);
    EXPECT_THAT(in->flush(), succeeds());
    cache(2);
    policy->promotes = false;
    in->carrier().set_latency(cache_device::metadata, {slow, slow, 0, {}});
    const std::uint64_t before = nr_ios(cache_device::metadata, operation::flush);
    in->submit(operation::flush, {});
    while (nr_ios(cache_device::metadata, operation::flush) == before) {
      ASSERT_TRUE(in->step()); // until only the superblock has to be written
    }
    EXPECT_THAT(in->write(part(20)), succeeds()); // to the origin
    in->submit(operation::flush, {});
    in->submit(operation::write, part(1), true);
    ASSERT_TRUE(in->finish());
    in->cut_power();
    open();
    in->read_everything();
    ASSERT_FALSE(in->is_over()) << *in->violation();
  }
}

TEST_F(durability_test, a_commit_that_nobody_waits_for_flushes_no_origin) {
  open();
  EXPECT_THAT(in->reload(options()), succeeds()); // which flushes it
  cache(2);
  policy->promotes = false;
  EXPECT_THAT(in->write(part(20)), succeeds());
  const std::uint64_t nr_flushes = nr_ios(cache_device::origin, operation::flush);
  const std::uint64_t nr_commits = in->engine().counts().commits;
  ASSERT_TRUE(in->advance(std::chrono::seconds{3}));
  EXPECT_GT(in->engine().counts().commits, nr_commits);
  EXPECT_EQ(nr_ios(cache_device::origin, operation::flush), nr_flushes);
}

} // namespace
} // namespace dmcache
