// Passthrough mode: what has been wrong with it elsewhere is case 4 in caching/engine/engine.md.
#include "base/testing/matchers.h"
#include "caching/simulation/cache_test.h"

namespace dmcache {
namespace {

class passthrough_test : public cache_test {
 protected:
  // A cleanly shut down cache that holds clean blocks 0, 1, … is open in passthrough mode.
  void open_with(std::uint64_t count) {
    open();
    for (std::uint64_t block = 0; block < count; ++block) {
      EXPECT_THAT(in->write(whole(block)), succeeds());
    }
    EXPECT_THAT(in->clean(), succeeds());
    shut_down();
    open(cache_mode::passthrough);
  }
  // With so few blocks the metadata device has room for one commit at a time.
  static constexpr std::uint64_t hardly_enough = 14;
  // In passthrough mode, with a block cached that can't leave.
  void open_with_full_metadata(std::uint64_t cached) {
    devices.nr_metadata_blocks = hardly_enough;
    open();
    cache(cached);
    EXPECT_THAT(
        in->shut_down(),
        fails_with(failure::failed)); // and what it could write of the hints takes the last room
    in->mend();
    open();
    EXPECT_THAT(in->clean(), succeeds());
    EXPECT_THAT(in->reload(options(cache_mode::passthrough)), succeeds());
  }
};

TEST_F(passthrough_test, reads_come_from_the_origin) {
  open_with(2);
  const auto before = nr_ios(cache_device::fast, engine_io::operation::read);
  EXPECT_THAT(in->read(whole(0, 2)), succeeds());
  EXPECT_EQ(nr_ios(cache_device::fast, engine_io::operation::read), before);
  EXPECT_TRUE(is_cached(0));
}

TEST_F(passthrough_test, a_write_drops_its_block_for_good_before_it_completes) {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    devices.seed = seed;
    in.reset();
    open_with(2);
    EXPECT_THAT(in->write(part(1)), succeeds());
    EXPECT_FALSE(is_cached(1));
    EXPECT_TRUE(is_cached(0));
    in->cut_power();
    EXPECT_FALSE(is_mapped_on_media(1));
    EXPECT_TRUE(is_mapped_on_media(0));
  }
}

TEST_F(passthrough_test, concurrent_writes_of_one_block_all_succeed) {
  open_with(1);
  for (std::uint64_t i = 0; i < 20; ++i) {
    in->submit(operation::write, {i * 2, i * 2 + 5});
    in->submit(operation::read, {i * 3, i * 3 + 2});
  }
  EXPECT_TRUE(in->finish());
  EXPECT_FALSE(is_cached(0));
}

TEST_F(passthrough_test, a_block_is_invalidated_only_when_nothing_is_in_flight_in_it) {
  open_with(1);
  in->submit(operation::read, part(0));
  in->submit(operation::write, part(0));
  in->begin_message({"invalidate_cblocks", "0"});
  in->submit(operation::read, part(0));
  EXPECT_TRUE(in->finish());
  EXPECT_FALSE(is_cached(0));
}

TEST_F(passthrough_test, invalidating_in_the_midst_of_writes_and_of_a_reload_ends) {
  open_with(8);
  for (std::uint64_t block = 0; block < 8; ++block) {
    in->submit(operation::write, part(block));
  }
  in->begin_message({"invalidate_cblocks", "0-4", "6"});
  in->begin_reload(options());
  for (std::uint64_t block = 0; block < 8; ++block) {
    in->submit(operation::write, part(block), true);
  }
  EXPECT_TRUE(in->finish());
  in->read_everything();
  EXPECT_TRUE(in->settle());
  in->compare_clean_blocks();
}

TEST_F(passthrough_test, what_comes_during_a_reload_is_for_the_mode_after_it) {
  open_with(8);
  in->submit(operation::read, part(20));
  in->begin_reload(options());
  const auto refused = in->message({"invalidate_cblocks", "0-8"});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message, "blocks are invalidated in passthrough mode only");
  EXPECT_EQ(state().mappings->nr_mapped(), 8U);
}

TEST_F(passthrough_test, a_write_waits_for_room_though_another_takes_what_a_commit_had_freed) {
  constexpr instant slow = std::chrono::milliseconds{1};
  devices.nr_metadata_blocks = hardly_enough;
  open();
  for (std::uint64_t block = 0; block < 3; ++block) {
    cache(block);
  }
  EXPECT_THAT(in->reload(options(cache_mode::passthrough)), succeeds());
  in->carrier().set_latency(cache_device::metadata, {slow, slow, 0, {}});
  const auto commits = in->engine().counts().commits;
  in->submit(operation::write, part(0)); // of which the commit takes all the room
  in->submit(operation::write, part(1)); // and this one waits for the next, which only flushes
  EXPECT_THAT(in->write(part(20)), succeeds());
  while (in->engine().counts().commits == commits && in->step()) {
  }
  in->submit(operation::write, part(2)); // meanwhile
  EXPECT_TRUE(in->finish());
  EXPECT_EQ(state().mappings->nr_mapped(), 0U);
}

TEST_F(passthrough_test, if_the_metadata_device_is_full_a_write_to_a_cached_block_changes_nothing) {
  open_with_full_metadata(1);
  const auto before = nr_ios(cache_device::origin, engine_io::operation::write);
  EXPECT_EQ(in->write(part(1)), std::errc::io_error);
  EXPECT_EQ(nr_ios(cache_device::origin, engine_io::operation::write), before);
  EXPECT_TRUE(is_cached(1));
  EXPECT_THAT(in->write(part(2)), succeeds());
  EXPECT_THAT(in->flush(), succeeds());
  in->cut_power();
  EXPECT_TRUE(is_mapped_on_media(1));
}

TEST_F(passthrough_test, if_the_metadata_device_is_full_nothing_is_copied_in_vain) {
  open_with_full_metadata(1);
  EXPECT_THAT(in->reload(options(cache_mode::writeback)), succeeds());
  const auto before = nr_ios(cache_device::fast, engine_io::operation::write);
  EXPECT_THAT(in->read(part(2)), succeeds());
  EXPECT_THAT(in->write(whole(3)), succeeds());
  ASSERT_TRUE(in->settle());
  EXPECT_EQ(nr_ios(cache_device::fast, engine_io::operation::write), before);
  EXPECT_EQ(in->engine().counts().migration_errors, 0U);
}

TEST_F(passthrough_test, a_message_tells_of_blocks_that_a_full_metadata_device_keeps) {
  open_with_full_metadata(1);
  const auto done = in->message({"invalidate_cblocks", "0-8"});
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().message, "some of the blocks are cached still: the metadata device is "
                                  "full: use a larger one (see cache_metadata_size)");
  EXPECT_TRUE(is_cached(1));
}

TEST_F(passthrough_test, nothing_is_promoted) {
  open_with(0);
  EXPECT_THAT(in->read(whole(3)), succeeds());
  EXPECT_THAT(in->write(whole(4)), succeeds());
  EXPECT_EQ(state().mappings->nr_mapped(), 0U);
}

TEST_F(passthrough_test, is_refused_while_blocks_are_dirty_at_start) {
  open();
  make_dirty(3);
  shut_down();
  EXPECT_EQ(refusal(options(cache_mode::passthrough)),
            "1 cache blocks are dirty, which passthrough can't serve: use writeback or "
            "writethrough until none is");
}

TEST_F(passthrough_test, and_by_a_reload) {
  open();
  make_dirty(3);
  const auto refused = in->reload(options(cache_mode::passthrough));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message, "passthrough needs a cache without dirty blocks, and 1 are "
                                     "dirty: clean it first");
  EXPECT_EQ(state().mode(), cache_mode::writeback);
  EXPECT_THAT(in->clean(), succeeds());
  EXPECT_THAT(in->reload(options(cache_mode::passthrough)), succeeds());
  EXPECT_EQ(state().mode(), cache_mode::passthrough);
}

TEST_F(passthrough_test, is_refused_after_a_power_cut_if_the_dirty_state_was_not_tracked) {
  tracking = dirty_tracking::at_shutdown;
  open();
  cache(3);
  EXPECT_THAT(in->flush(), succeeds());
  in->cut_power();
  EXPECT_NE(refusal(options(cache_mode::passthrough)).find("not cleanly shut down"),
            std::string::npos);
  open();
}

TEST_F(passthrough_test, messages_are_refused_in_other_modes_and_for_other_blocks) {
  open();
  const auto message = [&](const char *range) {
    const auto done = in->message({"invalidate_cblocks", range});
    return done ? "" : done.error().message;
  };
  EXPECT_EQ(message("1"), "blocks are invalidated in passthrough mode only");
  EXPECT_THAT(in->reload(options(cache_mode::passthrough)), succeeds());
  EXPECT_EQ(message("1"), "");
  EXPECT_EQ(message("0-8"), "");
  EXPECT_NE(message("0-9"), "");
  EXPECT_NE(message("8"), "");
  EXPECT_NE(message("3-3"), "");
  EXPECT_NE(message("-3"), "");
  EXPECT_NE(message("x"), "");
}

} // namespace
} // namespace dmcache
