// I/O errors of the fast device and the origin: who hears of them, and what they must not spoil.
#include "base/testing/matchers.h"
#include "caching/simulation/cache_test.h"

namespace dmcache {
namespace {

using device_operation = simulated_device::operation;

class error_test : public cache_test {
 protected:
  void fail(cache_device on, device_operation op, std::uint64_t times = 1) {
    in->device(on).add_fault({.op = op, .at_most = times});
  }
  static constexpr std::uint64_t always = 1000000;
};

TEST_F(error_test, the_origin_serves_a_clean_block_that_cannot_be_read_and_the_block_goes) {
  open();
  cache(3);
  fail(cache_device::fast, device_operation::read);
  EXPECT_THAT(in->read(part(3)), succeeds());
  EXPECT_TRUE(in->settle());
  EXPECT_EQ(in->engine().counts().fast_errors_served, 1U);
  EXPECT_FALSE(is_cached(3));
}

TEST_F(error_test, of_a_dirty_block_it_is_an_error_of_that_request_alone) {
  open();
  make_dirty(3);
  fail(cache_device::fast, device_operation::read);
  EXPECT_THAT(in->read(part(3)), fails_with(std::errc::io_error));
  EXPECT_THAT(in->read(part(3)), succeeds());
  EXPECT_EQ(nr_dirty(), 1U);
}

TEST_F(error_test, a_block_that_could_not_be_written_through_to_the_origin_is_dirty) {
  open(cache_mode::writethrough);
  cache(3);
  fail(cache_device::origin, device_operation::write);
  EXPECT_THAT(in->write(part(3)), fails_with(std::errc::io_error));
  EXPECT_EQ(nr_dirty(), 1U);
  EXPECT_THAT(in->read(whole(3)), succeeds());
  EXPECT_THAT(in->clean(), succeeds());
  in->compare_clean_blocks();
}

TEST_F(error_test, a_block_that_could_not_be_written_to_the_fast_device_goes) {
  open(cache_mode::writethrough);
  cache(3);
  policy->promotes = false;
  fail(cache_device::fast, device_operation::write);
  EXPECT_THAT(in->write(part(3)), succeeds());
  EXPECT_FALSE(is_cached(3));
  EXPECT_THAT(in->read(whole(3)), succeeds());
}

TEST_F(error_test, a_block_that_cannot_be_read_whole_is_not_promoted_but_served) {
  open();
  const bytes bad = to_bytes(sectors{3 * block_size + 60});
  in->device(cache_device::origin)
      .add_fault({.op = device_operation::read, .begin = bad, .end = bad + sector_size});
  EXPECT_THAT(in->read(part(3)), succeeds());
  EXPECT_THAT(in->read({3 * block_size + 60, 3 * block_size + 61}),
              fails_with(std::errc::io_error));
  EXPECT_TRUE(in->settle());
  EXPECT_FALSE(is_cached(3));
  EXPECT_EQ(policy->nr_free(), 8U);
}

TEST_F(error_test, a_block_that_cannot_be_copied_is_not_promoted_but_served) {
  open();
  fail(cache_device::fast, device_operation::write, always);
  EXPECT_THAT(in->read(part(3)), succeeds());
  EXPECT_TRUE(in->settle());
  EXPECT_FALSE(is_cached(3));
  EXPECT_EQ(policy->nr_free(), 8U);
}

TEST_F(error_test, a_fast_device_that_takes_nothing_is_tried_once_a_second) {
  open();
  fail(cache_device::fast, device_operation::write, always);
  for (std::uint64_t i = 0; i < 50; ++i) {
    EXPECT_THAT(in->write(whole(3 + i % 5)), succeeds());
    EXPECT_THAT(in->read(part(8 + i % 5)), succeeds());
  }
  EXPECT_EQ(nr_ios(cache_device::fast, engine_io::operation::write), 1U);
  in->device(cache_device::fast).clear_faults();
  EXPECT_TRUE(in->advance(std::chrono::seconds{2}));
  EXPECT_THAT(in->write(whole(3)), succeeds());
  EXPECT_TRUE(is_cached(3));
}

TEST_F(error_test, zeroes_take_the_place_of_nothing) {
  open();
  EXPECT_THAT(in->perform(operation::write_zeroes, whole(5)), succeeds());
  ASSERT_TRUE(in->settle());
  EXPECT_FALSE(is_cached(5));
  EXPECT_EQ(nr_ios(cache_device::origin, engine_io::operation::write_zeroes), 1U);
}

TEST_F(error_test, a_write_that_could_not_promote_its_block_goes_to_the_origin) {
  open();
  fail(cache_device::fast, device_operation::write, always);
  EXPECT_THAT(in->write(whole(3)), succeeds());
  EXPECT_FALSE(is_cached(3));
  EXPECT_THAT(in->read(whole(3)), succeeds());
}

TEST_F(error_test, a_block_that_cannot_be_written_back_stays_dirty_and_is_not_tried_all_the_time) {
  open();
  make_dirty(3);
  fail(cache_device::origin, device_operation::write, always);
  const auto cleaned = in->clean();
  ASSERT_FALSE(cleaned);
  EXPECT_EQ(cleaned.error().message, "1 blocks are dirty still: write of 32768 bytes at 98304 of "
                                     "the origin: Input/output error");
  const auto before = nr_ios(cache_device::origin, engine_io::operation::write);
  in->advance(std::chrono::seconds{10});
  EXPECT_LE(nr_ios(cache_device::origin, engine_io::operation::write) - before, 11U);
  EXPECT_EQ(nr_dirty(), 1U);
  in->device(cache_device::origin).clear_faults();
  EXPECT_THAT(in->clean(), succeeds());
}

TEST_F(error_test, blocks_that_cannot_settle_are_not_written_back_all_the_time) {
  open();
  for (std::uint64_t block = 4; block < 11; ++block) {
    cache(block);
  }
  make_dirty(3); // and none is free: there is a hurry
  fail(cache_device::origin, device_operation::flush, always);
  EXPECT_THAT(in->clean(), fails_with(failure::failed));
  in->advance(std::chrono::seconds{10});
  EXPECT_LE(nr_ios(cache_device::origin, engine_io::operation::write), 12U);
  EXPECT_EQ(nr_dirty(), 1U);
}

TEST_F(error_test, a_block_is_not_clean_before_the_origin_is_flushed) {
  open();
  make_dirty(3);
  fail(cache_device::origin, device_operation::flush, 1);
  const auto cleaned = in->clean();
  ASSERT_FALSE(cleaned);
  EXPECT_EQ(cleaned.error().message,
            "1 blocks are dirty still: flush of the origin: Input/output error");
  EXPECT_EQ(nr_dirty(), 1U);
}

TEST_F(error_test, cleaning_goes_on_although_another_block_could_not_be_promoted) {
  open();
  make_dirty(3);
  fail(cache_device::fast, device_operation::write);
  in->submit(operation::write, whole(5));
  EXPECT_THAT(in->clean(), succeeds());
  EXPECT_EQ(in->engine().counts().migration_errors, 1U);
  EXPECT_EQ(nr_dirty(), 0U);
}

TEST_F(error_test, a_write_during_the_writeback_leaves_the_block_dirty) {
  open();
  make_dirty(3);
  in->begin_clean();
  while (nr_ios(cache_device::origin, engine_io::operation::write) == 0 && in->step()) {
  }
  in->submit(operation::write, part(3));
  EXPECT_TRUE(in->finish());
  EXPECT_EQ(nr_dirty(), 0U); // the second time
  in->compare_clean_blocks();
  EXPECT_GE(nr_ios(cache_device::origin, engine_io::operation::write), 2U);
}

TEST_F(error_test, a_flush_that_failed_unheard_is_told_to_the_next_one_who_flushes) {
  devices.fast.failed_flush_loses = true;
  open();
  make_dirty(3);
  EXPECT_THAT(in->flush(), succeeds());
  EXPECT_THAT(in->write(part(3)), succeeds());
  fail(cache_device::fast, device_operation::flush);
  policy->write_back(0);
  in->advance(std::chrono::seconds{3});
  EXPECT_EQ(state().flushes.now(), 1U);
  EXPECT_THAT(in->flush(), fails_with(std::errc::io_error));
  EXPECT_THAT(in->flush(), succeeds());
}

TEST_F(error_test, a_flush_that_lost_a_part_of_a_write_under_way_is_told_once_more_after_it) {
  constexpr instant slow = std::chrono::seconds{2};
  devices.fast.failed_flush_loses = true;
  open();
  cache(3);
  EXPECT_THAT(in->flush(), succeeds());
  policy->promotes = false;
  in->carrier().set_latency(cache_device::origin, {slow, slow, 0, {}});
  in->submit(operation::write, {4 * block_size - 2, 4 * block_size + 2}); // half of it is cached
  in->carrier().set_latency(cache_device::origin, {});
  in->advance(std::chrono::milliseconds{1});
  fail(cache_device::fast, device_operation::flush);
  EXPECT_THAT(in->flush(), fails_with(std::errc::io_error));
  EXPECT_EQ(in->nr_under_way(), 1U);
  EXPECT_TRUE(in->finish());
  EXPECT_THAT(in->flush(), fails_with(std::errc::io_error));
  EXPECT_THAT(in->flush(), succeeds());
}

TEST_F(error_test, after_a_failed_flush_the_cache_is_not_cleanly_shut_down) {
  devices.origin.failed_flush_loses = true;
  open(cache_mode::writethrough);
  cache(3);
  EXPECT_THAT(in->write(part(3)), succeeds());
  fail(cache_device::origin, device_operation::flush);
  EXPECT_THAT(in->flush(), fails_with(std::errc::io_error));
  EXPECT_THAT(in->flush(), succeeds());
  EXPECT_THAT(in->shut_down(), fails_with(failure::environment));
  EXPECT_FALSE(in->media().block.is_clean());
  EXPECT_FALSE(in->media().block.is_needs_check());
}

TEST_F(error_test, requests_that_make_no_sense_are_refused) {
  open();
  const std::uint64_t size = devices.origin_size.value() * sector_size;
  constexpr std::uint64_t huge = ~std::uint64_t{0} - sector_size + 1;
  const std::pair<std::uint64_t, std::uint64_t> wrong[] = {
      {1, 512}, {512, 1}, {0, 0}, {size, 512}, {size - 512, 1024}, {huge, 1024}, {512, huge}};
  for (const auto &[offset, length] : wrong) {
    for (const auto op :
         {request::operation::read, request::operation::write, request::operation::discard,
          request::operation::write_zeroes, request::operation::prefetch}) {
      request one;
      one.op = op;
      one.offset = bytes{offset};
      one.length = bytes{length};
      in->engine().submit(one);
      EXPECT_EQ(in->engine().next_completed(), &one);
      EXPECT_EQ(one.outcome, std::errc::invalid_argument) << offset << ' ' << length;
    }
  }
}

TEST_F(error_test, a_cache_that_is_open_read_only_takes_no_changes_and_makes_none) {
  open();
  make_dirty(3);
  in->cut_power();
  engine_options how = options();
  how.read_only = true;
  const std::uint64_t before = in->device(cache_device::metadata).nr_changes();
  ASSERT_EQ(refusal(how), "");
  request one;
  one.op = request::operation::write_zeroes;
  one.length = bytes{sector_size};
  in->engine().submit(one);
  EXPECT_EQ(in->engine().next_completed(), &one);
  EXPECT_EQ(one.outcome, std::errc::read_only_file_system);
  EXPECT_TRUE(in->engine().status().is_read_only);
  EXPECT_THAT(in->reload(options()), succeeds()); // which doesn't change that
  in->engine().submit(one);
  EXPECT_EQ(in->engine().next_completed(), &one);
  EXPECT_EQ(one.outcome, std::errc::read_only_file_system);
  in->read_everything();
  shut_down();
  EXPECT_EQ(in->device(cache_device::metadata).nr_changes(), before);
}

// Blocks that are copied in several pieces, of which a flush that fails loses the first.
class lost_copy_test : public error_test {
 protected:
  lost_copy_test() {
    block_size = 8192;
    devices.fast_size = blocks(3);
    devices.origin_size = blocks(4);
    devices.has_whole_sectors = false;
    devices.fast.failed_flush_loses = true;
  }
};

TEST_F(lost_copy_test, is_not_mapped) {
  open();
  fail(cache_device::fast, device_operation::flush);
  in->submit(operation::read, part(2));
  while (nr_ios(cache_device::fast, engine_io::operation::write) < 2 && in->step()) {
  }
  EXPECT_THAT(in->flush(), succeeds()); // the origin has it all
  EXPECT_TRUE(in->settle());
  EXPECT_FALSE(is_cached(2));
  EXPECT_TRUE(in->advance(std::chrono::seconds{2})); // nothing is promoted before
  cache(2);
}

TEST_F(lost_copy_test, of_what_was_to_become_clean_is_made_again) {
  devices.origin.failed_flush_loses = true;
  for (std::uint64_t seed = 0; seed < 6; ++seed) {
    devices.seed = seed;
    in.reset();
    others_dirty = 0;
    open();
    make_dirty(2);
    EXPECT_THAT(in->flush(), succeeds());
    fail(cache_device::origin, device_operation::flush);
    const std::uint64_t before = nr_ios(cache_device::origin, engine_io::operation::write);
    in->begin_clean();
    while (nr_ios(cache_device::origin, engine_io::operation::write) < before + 3 && in->step()) {
    }
    in->submit(operation::flush, {});
    EXPECT_TRUE(in->settle());
    EXPECT_EQ(nr_dirty(), 1U);
    EXPECT_TRUE(in->advance(std::chrono::seconds{2}));
    EXPECT_THAT(in->clean(), succeeds());
    EXPECT_EQ(nr_dirty(), 0U);
    in->cut_power();
    EXPECT_EQ(in->violation().value_or(""), "");
  }
}

TEST_F(lost_copy_test, that_cannot_be_written_back_keeps_the_shutdown_from_being_clean) {
  constexpr instant slow = std::chrono::seconds{1};
  open();
  in->submit(operation::read, part(2));
  while (!is_cached(2) && in->step()) {
  }
  fail(cache_device::fast, device_operation::flush);
  in->carrier().set_latency(cache_device::metadata, {slow, slow, 0, {}});
  in->submit(operation::flush, {});
  while (state().flushes.fast_now() == 0 && in->step()) {
  }
  fail(cache_device::origin, device_operation::write, always);
  EXPECT_THAT(in->write(part(2)),
              fails_with(std::errc::io_error)); // to both, while it has to leave
  EXPECT_EQ(nr_dirty(), 1U);
  EXPECT_THAT(in->shut_down(),
              fails_with(failure::environment, testing::HasSubstr("can't leave the cache")));
  EXPECT_FALSE(is_mapped_on_media(2));
}

TEST_F(lost_copy_test, is_not_committed_if_it_was_mapped_before_the_flush_had_failed) {
  constexpr instant slow = std::chrono::seconds{1};
  constexpr instant quick = std::chrono::microseconds{1};
  open();
  cache(1);
  EXPECT_THAT(in->flush(), succeeds());
  fail(cache_device::fast, device_operation::flush);
  in->submit(operation::read, part(2));
  while (nr_ios(cache_device::fast, engine_io::operation::write) < 6 && in->step()) {
  }
  in->carrier().set_latency(cache_device::fast, {slow, slow, 0, {}});
  in->submit(operation::flush, {});
  in->carrier().set_latency(cache_device::fast, {quick, quick, 0, {}});
  while (!is_cached(2) && in->step()) {
  }
  EXPECT_EQ(state().flushes.fast_now(), 0U);
  EXPECT_TRUE(in->settle());
  EXPECT_EQ(state().flushes.fast_now(), 1U);
  EXPECT_EQ(state().mode_of_metadata, metadata_mode::write);
  EXPECT_FALSE(is_cached(2));
  in->cut_power();
  EXPECT_TRUE(is_mapped_on_media(1));
  EXPECT_FALSE(is_mapped_on_media(2));
}

} // namespace
} // namespace dmcache
