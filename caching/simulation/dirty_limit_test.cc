// How much may be dirty, and when it is written back (caching/engine/engine.md, 6).
#include "base/testing/matchers.h"
#include "caching/simulation/cache_test.h"

namespace dmcache {
namespace {

class dirty_limit_test : public cache_test {
 protected:
  // So many blocks may be dirty, and are written back if it is asked for.
  void open_with(std::uint64_t nr_blocks) {
    make();
    engine_options how = options();
    how.cleaning = cleaning_trigger::on_request;
    how.max_dirty = {nr_blocks * block_size + 1, false};
    EXPECT_THAT(in->open(how), succeeds());
  }
  bool is_dirty(std::uint64_t block) {
    return state().mappings->is_dirty(*state().mappings->find(origin_block{block}));
  }
  void rest() { ASSERT_TRUE(in->advance(std::chrono::seconds{10})); }
};

TEST_F(dirty_limit_test, a_write_beyond_it_goes_to_both_devices) {
  open_with(1);
  cache(2);
  make_dirty(1);
  EXPECT_EQ(nr_ios(cache_device::origin, operation::write), 0U);
  EXPECT_THAT(in->write(part(2)), succeeds());
  EXPECT_EQ(nr_ios(cache_device::origin, operation::write), 1U);
  EXPECT_EQ(nr_dirty(), 1U);
  EXPECT_FALSE(is_dirty(2));
  EXPECT_THAT(in->write(part(1)), succeeds()); // which is dirty anyway
  EXPECT_EQ(nr_ios(cache_device::origin, operation::write), 1U);
  in->compare_clean_blocks();
}

TEST_F(dirty_limit_test, a_whole_block_beyond_it_is_promoted_clean) {
  open_with(2);
  in->submit(operation::write, whole(1));
  in->submit(operation::write, whole(2));
  in->submit(operation::write, whole(3));
  ASSERT_TRUE(in->settle());
  EXPECT_TRUE(is_cached(3));
  EXPECT_EQ(nr_dirty(), 2U);
  EXPECT_FALSE(is_dirty(3));
}

TEST_F(dirty_limit_test, there_is_room_again_when_something_was_written_back) {
  open_with(1);
  cache(2);
  make_dirty(1);
  EXPECT_THAT(in->clean(), succeeds());
  EXPECT_THAT(in->write(part(2)), succeeds());
  EXPECT_TRUE(is_dirty(2));
}

TEST_F(dirty_limit_test, cleaning_makes_room_before_it_is_reached) {
  make();
  engine_options how = options();
  how.max_dirty = {50, true}; // of 8 blocks
  EXPECT_THAT(in->open(how), succeeds());
  make_dirty(1);
  make_dirty(2);
  cache(3);
  EXPECT_EQ(nr_dirty(), 2U);
  EXPECT_THAT(in->write(part(3)), succeeds());
  while (nr_dirty() == 3 && in->step()) { // under load
    EXPECT_THAT(in->read(part(3)), succeeds());
  }
  EXPECT_LT(nr_dirty(), 3U);
}

TEST_F(dirty_limit_test, a_lower_one_makes_nothing_clean_by_itself_and_no_more_dirty) {
  open_with(4);
  make_dirty(1);
  make_dirty(2);
  cache(3);
  EXPECT_THAT(in->message({"max_dirty", "0%"}), succeeds());
  EXPECT_EQ(in->engine().status().max_dirty, 0U);
  EXPECT_THAT(in->write(part(3)), succeeds());
  EXPECT_EQ(nr_dirty(), 2U);
  EXPECT_THAT(
      in->message({"max_dirty", "101%"}),
      fails_with(failure::usage, "max_dirty: '101%' is no share of the cache: 0% to 100% are"));
}

TEST_F(dirty_limit_test, a_block_written_to_while_it_settles_becomes_clean_all_the_same) {
  open_with(1);
  make_dirty(1);
  const cache_block block = *state().mappings->find(origin_block{1});
  EXPECT_THAT(in->message({"max_dirty", "0%"}), succeeds());
  in->begin_clean();
  while (!state().mappings->is_settling(block)) {
    ASSERT_TRUE(in->step());
  }
  EXPECT_THAT(in->write(part(1)), succeeds());
  ASSERT_TRUE(in->settle());
  EXPECT_EQ(in->engine().counts().writebacks, 1U);
  EXPECT_EQ(nr_dirty(), 0U);
  in->compare_clean_blocks();
}

// The flush by which the block becomes clean began before the write had ended, and doesn't cover it.
TEST_F(dirty_limit_test, what_was_written_while_a_block_settled_survives_a_lost_flush) {
  devices.fast.failed_flush_loses = true;
  open_with(1);
  make_dirty(1);
  EXPECT_THAT(in->message({"max_dirty", "0%"}), succeeds());
  const std::uint64_t nr_writes = nr_ios(cache_device::origin, operation::write);
  in->begin_clean();
  while (nr_ios(cache_device::origin, operation::write) == nr_writes) {
    ASSERT_TRUE(in->step());
  }
  in->submit(operation::write, part(1)); // which waits for the copy, and then goes to both
  ASSERT_TRUE(in->settle());
  ASSERT_EQ(nr_dirty(), 0U);
  in->device(cache_device::fast)
      .add_fault({.op = simulated_device::operation::flush, .at_most = 1});
  EXPECT_THAT(in->flush(), succeeds());
  EXPECT_FALSE(is_cached(1));
  in->cut_power();
  open();
  in->read_everything();
}

TEST_F(dirty_limit_test, nothing_is_written_back_unless_it_is_asked_for) {
  open_with(8);
  make_dirty(1);
  rest();
  EXPECT_EQ(nr_dirty(), 1U);
  EXPECT_THAT(in->clean(), succeeds());
  EXPECT_EQ(nr_dirty(), 0U);
}

TEST_F(dirty_limit_test, what_is_clean_makes_room_though_nothing_is_written_back) {
  open_with(8);
  make_dirty(1);
  cache(2);
  policy->demote(state().mappings->find(origin_block{2})->value());
  rest();
  EXPECT_FALSE(is_cached(2));
  EXPECT_EQ(nr_dirty(), 1U);
  EXPECT_EQ(in->engine().counts().demotions, 1U);
}

TEST_F(dirty_limit_test, cleaning_can_be_left_to_the_policy_again) {
  open_with(8);
  make_dirty(1);
  EXPECT_THAT(in->message({"cleaning", "background"}), succeeds());
  rest();
  EXPECT_EQ(nr_dirty(), 0U);
  EXPECT_THAT(in->message({"cleaning", "never"}),
              fails_with(failure::usage, "cleaning is background or on-request, not 'never'"));
}

TEST_F(dirty_limit_test, what_is_to_be_shut_down_stays_clean_once_it_is) {
  open();
  make_dirty(1);
  cache(2);
  EXPECT_THAT(in->clean(cache_engine::afterwards::kept_clean), succeeds());
  EXPECT_THAT(in->write(part(1)), succeeds());
  EXPECT_THAT(in->write(whole(3)), succeeds());
  ASSERT_TRUE(in->settle());
  EXPECT_EQ(nr_dirty(), 0U);
  shut_down();
  EXPECT_EQ(nr_dirty_on_media(), 0U);
}

TEST_F(dirty_limit_test, a_clean_up_for_a_shutdown_that_fails_leaves_the_cache_in_use) {
  open();
  make_dirty(1);
  cache(2);
  in->device(cache_device::origin)
      .add_fault({.op = simulated_device::operation::write, .at_most = 1});
  EXPECT_THAT(in->clean(cache_engine::afterwards::kept_clean),
              fails_with(failure::failed, testing::HasSubstr("1 blocks are dirty still")));
  EXPECT_THAT(in->write(part(2)), succeeds());
  EXPECT_TRUE(is_dirty(2));
}

} // namespace
} // namespace dmcache
