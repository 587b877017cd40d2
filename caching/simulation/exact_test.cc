// The dirty state tracked exactly: what CLEAN_SHUTDOWN vouches for is true at all times
// (caching/engine/engine.md, 16).
#include <algorithm>

#include "base/testing/matchers.h"
#include "caching/simulation/cache_test.h"

namespace dmcache {
namespace {

class exact_test : public cache_test, public testing::WithParamInterface<std::uint32_t> {
 protected:
  static constexpr std::uint64_t nr_cached = 8;

  exact_test() { metadata_version = GetParam(); }

  // All of them, clean; on disk, too, since the origin is flushed before.
  void fill(std::uint64_t nr_blocks = nr_cached) {
    EXPECT_THAT(in->flush(), succeeds());
    for (std::uint64_t block = 0; block < nr_blocks; ++block) {
      cache(block);
    }
    EXPECT_THAT(in->flush(), succeeds());
  }
  std::uint64_t nr_dirty_after_cut() {
    in->cut_power();
    EXPECT_FALSE(in->is_over()) << in->violation().value_or("");
    EXPECT_TRUE(in->media().block.is_clean());
    return nr_dirty_on_media();
  }
  bool is_exact() { return in->engine().status().tracking == dirty_tracking::exact; }
  std::uint64_t nr_commits() { return in->engine().counts().commits; }
};

INSTANTIATE_TEST_SUITE_P(versions, exact_test, testing::Values(1, 2));

TEST_P(exact_test, what_was_written_to_is_dirty_after_a_power_cut_and_nothing_else) {
  open();
  fill();
  EXPECT_THAT(in->write(part(3)), succeeds());
  EXPECT_EQ(nr_dirty_after_cut(), 1U);
  open();
  EXPECT_TRUE(is_exact());
  EXPECT_EQ(nr_dirty(), 1U);
  EXPECT_TRUE(state().mappings->is_dirty(*state().mappings->find(origin_block{3})));
}

TEST_P(exact_test, a_first_write_waits_for_its_bit_and_the_next_one_does_not) {
  open();
  fill();
  const std::uint64_t before = nr_commits();
  EXPECT_THAT(in->write(part(3)), succeeds());
  EXPECT_EQ(nr_commits(), before + 1);
  EXPECT_THAT(in->write(part(3)), succeeds());
  EXPECT_THAT(in->read(part(4)), succeeds());
  EXPECT_EQ(nr_commits(), before + 1);
}

TEST_P(exact_test, first_writes_share_commits) {
  block_size = 64;
  devices.fast_size = blocks(64);
  devices.origin_size = blocks(100);
  open();
  fill(64);
  const std::uint64_t before = nr_commits();
  for (std::uint64_t block = 0; block < 64; ++block) {
    in->submit(operation::write, part(block));
  }
  ASSERT_TRUE(in->finish());
  EXPECT_LE(nr_commits(), before + 2); // the first one goes alone
  EXPECT_EQ(nr_dirty_after_cut(), 64U);
}

TEST_P(exact_test, a_block_that_was_written_back_counts_as_dirty_until_it_has_been_quiet) {
  open();
  fill();
  EXPECT_THAT(in->write(part(3)), succeeds());
  EXPECT_THAT(in->clean(), succeeds());
  EXPECT_EQ(nr_dirty(), 0U);
  EXPECT_EQ(nr_dirty_after_cut(), 1U);
  open();
  EXPECT_THAT(in->clean(), succeeds());
  in->advance(std::chrono::seconds{130});
  EXPECT_EQ(nr_dirty_after_cut(), 0U);
  open();
  EXPECT_EQ(nr_dirty(), 0U);
}

TEST_P(exact_test, what_is_written_to_again_within_that_time_needs_no_commit) {
  open();
  fill();
  for (int i = 0; i < 5; ++i) {
    EXPECT_THAT(in->write(part(3)), succeeds());
    EXPECT_THAT(in->clean(), succeeds());
    in->advance(std::chrono::seconds{20});
  }
  const std::uint64_t before = nr_commits();
  EXPECT_THAT(in->write(part(3)), succeeds());
  EXPECT_EQ(nr_commits(), before);
}

TEST_P(exact_test, a_cache_of_which_all_is_dirty_is_cleaned_for_good_little_by_little) {
  tracking = dirty_tracking::at_shutdown;
  open();
  fill();
  in->cut_power();
  EXPECT_FALSE(in->media().block.is_clean());
  tracking = dirty_tracking::exact;
  open();
  EXPECT_EQ(nr_dirty(), nr_cached);
  EXPECT_EQ(nr_dirty_after_cut(), nr_cached);
  open();
  EXPECT_THAT(in->clean(), succeeds());
  in->advance(std::chrono::seconds{130});
  EXPECT_THAT(in->write(part(2)), succeeds());
  EXPECT_EQ(nr_dirty_after_cut(), 1U);
}

TEST_P(exact_test, hints_are_kept_and_discards_are_not) {
  open();
  fill();
  EXPECT_THAT(in->perform(operation::discard, whole(9, 2)), succeeds());
  shut_down();
  EXPECT_FALSE(in->media().discards.empty());
  open();
  EXPECT_TRUE(state().discards->test(9));
  EXPECT_EQ(nr_dirty_after_cut(), 0U);
  EXPECT_TRUE(in->media().discards.empty());
  EXPECT_EQ(in->media().hints.size(), nr_cached);
  open();
  EXPECT_FALSE(state().discards->test(9));
  EXPECT_TRUE(policy->loaded.at(0).has_value());
}

TEST_P(exact_test, hints_of_a_fast_device_of_another_size_are_not) {
  open();
  fill();
  shut_down();
  EXPECT_EQ(refusal(options(), blocks(200)), "");
  EXPECT_EQ(nr_dirty_after_cut(), 0U);
  EXPECT_EQ(in->media().block.hint_root, 0U);
  EXPECT_EQ(refusal(options(), blocks(200)), "");
  EXPECT_EQ(state().mappings->nr_mapped(), nr_cached);
}

// A shutdown that is cut off leaves what can be believed.
TEST_P(exact_test, the_bits_can_be_believed_in_the_midst_of_a_shutdown) {
  for (std::uint64_t events = 0; events < 40; ++events) {
    make();
    open();
    fill();
    EXPECT_THAT(in->write(part(3)), succeeds());
    in->begin_shut_down();
    in->cut_power_in(events);
    while (!in->is_power_cut() && in->step()) {
    }
    EXPECT_EQ(nr_dirty_after_cut(), 1U) << events;
    ASSERT_FALSE(in->is_over()) << *in->violation();
  }
}

TEST_P(exact_test, after_a_failed_flush_all_counts_as_dirty) {
  open();
  fill();
  EXPECT_THAT(in->write(part(3)), succeeds());
  in->device(cache_device::fast)
      .add_fault({.op = simulated_device::operation::flush, .at_most = 1});
  EXPECT_THAT(in->flush(), fails_with(std::errc::io_error));
  EXPECT_FALSE(is_exact());
  in->cut_power();
  EXPECT_FALSE(in->media().block.is_clean());
  EXPECT_EQ(nr_dirty_on_media(), nr_cached);
}

TEST_P(exact_test, without_room_in_the_metadata_it_ends_and_writes_go_on) {
  devices.nr_metadata_blocks = GetParam() == 1 ? 12 : 13;
  open();
  EXPECT_THAT(in->write(part(3)), succeeds());
  ASSERT_TRUE(in->settle());
  EXPECT_FALSE(in->is_over()) << in->violation().value_or("");
}

TEST_P(exact_test, passthrough_can_be_started_after_a_power_cut) {
  open();
  fill();
  EXPECT_THAT(in->write(part(3)), succeeds());
  EXPECT_THAT(in->clean(), succeeds());
  EXPECT_THAT(in->reload(options(cache_mode::passthrough)), succeeds());
  EXPECT_THAT(in->write(part(4)), succeeds());
  EXPECT_EQ(nr_dirty_after_cut(), 0U);
  open(cache_mode::passthrough);
  EXPECT_EQ(state().mode(), cache_mode::passthrough);
  EXPECT_FALSE(is_cached(4));
}

TEST_P(exact_test, in_writethrough_a_block_counts_as_dirty_while_it_is_written_to) {
  open(cache_mode::writethrough);
  fill();
  EXPECT_THAT(in->write(part(3)), succeeds());
  EXPECT_EQ(nr_dirty(), 0U);
  EXPECT_EQ(nr_dirty_after_cut(), 1U);
  open(cache_mode::writethrough);
  EXPECT_THAT(in->clean(), succeeds());
  in->advance(std::chrono::seconds{130});
  EXPECT_EQ(nr_dirty_after_cut(), 0U);
}

TEST_P(exact_test, what_is_written_through_again_and_again_needs_no_commit) {
  open(cache_mode::writethrough);
  fill();
  EXPECT_THAT(in->write(part(3)), succeeds());
  const std::uint64_t before = nr_commits();
  for (int i = 0; i < 10; ++i) {
    in->advance(std::chrono::seconds{20});
    EXPECT_THAT(in->write(part(3)), succeeds());
  }
  EXPECT_EQ(nr_commits(), before);
}

// The death of the process, not of the machine.
TEST_P(exact_test, whatever_was_acknowledged_is_there_after_a_kill) {
  for (const dirty_tracking each : {dirty_tracking::exact, dirty_tracking::at_shutdown}) {
    tracking = each;
    make();
    open();
    cache(1);
    EXPECT_THAT(in->write(part(1)), succeeds());  // its mapping is not committed yet
    EXPECT_THAT(in->write(whole(5)), succeeds()); // a promotion
    ASSERT_TRUE(is_cached(5));
    in->kill();
    open();
    in->read_everything();
    EXPECT_FALSE(in->is_over()) << *in->violation();
  }
}

} // namespace
} // namespace dmcache
