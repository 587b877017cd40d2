// What was acknowledged survives the death of the process, and failures of the metadata and of the
// fast device: each of these once cost a client data, or could have.
#include "base/testing/matchers.h"
#include "caching/simulation/cache_test.h"
#include "caching/simulation/stamp.h"

namespace dmcache {
namespace {

using device_operation = simulated_device::operation;

class acknowledged_test : public cache_test {
 protected:
  static constexpr std::uint64_t block = 3;

  // The change that stands in the sector that part(block) is.
  std::uint64_t on_origin() {
    return stamp_of(in->device(cache_device::origin).sector(part(block).begin)).change;
  }
  std::uint64_t on_fast(cache_block at) {
    const std::uint64_t sector = at.value() * block_size + part(block).begin % block_size;
    return stamp_of(in->device(cache_device::fast).sector(sector)).change;
  }
  cache_block cached_in() { return *state().mappings->find(origin_block{block}); }
  std::uint64_t last_change() { return in->model().next_change() - 1; }
  void fail_once(cache_device on, device_operation op) {
    in->device(on).add_fault({.op = op, .at_most = 1});
  }
  // A cache on new devices, whose fast device loses what it fails to flush, as the seed chooses. The
  // block is cached, and was written to and flushed.
  void start_in_writethrough(std::uint64_t seed) {
    devices.fast.failed_flush_loses = true;
    devices.seed = seed;
    in.reset();
    open(cache_mode::writethrough);
    cache(block);
    EXPECT_THAT(in->write(part(block)), succeeds());
    EXPECT_THAT(in->flush(), succeeds());
  }
  // As often as the cache is started, until all of it is on the origin.
  void restart_and_clean(cache_mode mode) {
    open(mode);
    EXPECT_THAT(in->flush(), succeeds());
    EXPECT_THAT(in->clean(), succeeds());
  }
};

TEST_F(acknowledged_test, a_write_to_a_block_that_is_being_demoted_survives_a_kill) {
  constexpr std::chrono::milliseconds slow{1000};
  for (const cache_mode mode : {cache_mode::writethrough, cache_mode::writeback}) {
    in.reset();
    make();
    open(mode);
    cache(block);
    EXPECT_THAT(in->write(part(block)), succeeds());
    EXPECT_THAT(in->clean(), succeeds());
    EXPECT_THAT(in->flush(), succeeds());
    in->carrier().set_latency(cache_device::metadata, {slow, slow, 0, {}});
    policy->promotes = false;
    policy->demote(cached_in().value());
    in->advance(std::chrono::milliseconds{1200});
    while (is_cached(block) && in->step()) {
    }
    EXPECT_THAT(in->read(part(block)), succeeds()); // which needn't wait
    EXPECT_THAT(in->write(part(block)), succeeds());
    const std::uint64_t acknowledged = last_change();
    in->kill();
    in->carrier().set_latency(cache_device::metadata, {});
    restart_and_clean(mode);
    EXPECT_EQ(on_origin(), acknowledged);
  }
}

TEST_F(acknowledged_test, what_a_failed_commit_should_have_mapped_is_brought_to_the_origin) {
  open();
  fail_once(cache_device::metadata, device_operation::write);
  EXPECT_THAT(in->write(whole(block)), succeeds()); // promoted, and dirty
  ASSERT_TRUE(is_cached(block));
  in->advance(std::chrono::seconds{3}); // the commit fails
  EXPECT_EQ(state().mode_of_metadata, metadata_mode::read_only);
  EXPECT_FALSE(is_cached(block));
  EXPECT_THAT(in->write(part(block)), succeeds());
  const std::uint64_t acknowledged = last_change();
  EXPECT_THAT(in->flush(), succeeds());
  EXPECT_THAT(in->shut_down(),
              fails_with(failure::environment, testing::HasSubstr("is on the origin as well")));
  in->mend();
  restart_and_clean(cache_mode::writeback);
  EXPECT_EQ(on_origin(), acknowledged);
}

TEST_F(acknowledged_test,
       what_is_dirty_goes_to_the_origin_when_a_cache_without_metadata_is_stopped) {
  open();
  make_dirty(block);
  EXPECT_THAT(in->flush(), succeeds());
  const cache_block at = cached_in();
  cache(7);
  fail_once(cache_device::metadata, device_operation::write);
  in->advance(std::chrono::seconds{3});
  ASSERT_EQ(state().mode_of_metadata, metadata_mode::read_only);
  EXPECT_THAT(in->write(part(block)), succeeds());
  EXPECT_EQ(on_fast(at), last_change());
  EXPECT_THAT(in->shut_down(), fails_with(failure::environment));
  EXPECT_EQ(on_origin(), last_change());
}

// Two-sided: the write fails, or the mapping is gone for good.
TEST_F(acknowledged_test,
       a_write_in_passthrough_fails_if_the_mapping_that_hides_it_cannot_be_removed) {
  open();
  EXPECT_THAT(in->write(whole(block)), succeeds());
  EXPECT_THAT(in->clean(), succeeds());
  const std::uint64_t before = last_change();
  shut_down();
  open(cache_mode::passthrough);
  fail_once(cache_device::metadata, device_operation::write);
  EXPECT_THAT(in->write(part(block)), fails_with(std::errc::io_error));
  EXPECT_TRUE(is_cached(block));
  EXPECT_EQ(on_origin(), before);
  EXPECT_THAT(in->shut_down(), fails_with(failure::environment));
  in->mend();
  restart_and_clean(cache_mode::writeback);
  EXPECT_EQ(on_origin(), before);
}

TEST_F(acknowledged_test, in_writethrough_the_fast_device_never_costs_what_the_origin_has) {
  for (std::uint64_t seed = 0; seed < 6; ++seed) {
    start_in_writethrough(seed);
    EXPECT_THAT(in->write(part(block)), succeeds());
    const std::uint64_t acknowledged = last_change();
    fail_once(cache_device::fast, device_operation::flush);
    EXPECT_THAT(in->flush(), succeeds()); // the origin has it all
    EXPECT_FALSE(is_cached(block));
    in->cut_power();
    restart_and_clean(cache_mode::writethrough);
    EXPECT_EQ(on_origin(), acknowledged);
  }
}

// It may have lost what that write brought there already, and no later flush makes that good.
TEST_F(acknowledged_test, nor_does_a_flush_that_failed_while_the_write_was_under_way) {
  constexpr std::chrono::milliseconds slow{1000};
  for (std::uint64_t seed = 0; seed < 6; ++seed) {
    start_in_writethrough(seed);
    in->carrier().set_latency(cache_device::origin, {slow, slow, 0, {}});
    in->submit(operation::write, part(block));
    in->advance(slow / 2); // it has ended on the fast device
    fail_once(cache_device::fast, device_operation::flush);
    in->submit(operation::flush, {});
    ASSERT_TRUE(in->settle());
    EXPECT_FALSE(is_cached(block));
    EXPECT_THAT(in->flush(), succeeds());
    const std::uint64_t acknowledged = last_change();
    in->cut_power();
    in->carrier().set_latency(cache_device::origin, {});
    restart_and_clean(cache_mode::writethrough);
    EXPECT_EQ(on_origin(), acknowledged);
  }
}

TEST_F(acknowledged_test, in_writethrough_a_dead_fast_device_costs_nothing_but_speed) {
  open(cache_mode::writethrough);
  cache(block);
  cache(7);
  for (const device_operation op :
       {device_operation::read, device_operation::write, device_operation::flush}) {
    in->device(cache_device::fast).add_fault({.op = op});
  }
  for (int i = 0; i < 5; ++i) {
    EXPECT_THAT(in->write(part(block)), succeeds());
    EXPECT_THAT(in->read(part(7)), succeeds());
    EXPECT_THAT(in->flush(), succeeds());
    EXPECT_THAT(in->perform(operation::write, part(7), true), succeeds());
    in->advance(std::chrono::seconds{2});
  }
  EXPECT_EQ(state().mode_of_metadata, metadata_mode::write);
}

} // namespace
} // namespace dmcache
