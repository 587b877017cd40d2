// What is cached is compared with the origin while the cache is in use (engine.md, 10).
#include "base/testing/matchers.h"
#include "caching/simulation/cache_test.h"

namespace dmcache {
namespace {

using finding = compared_block::finding;

class verify_test : public cache_test {
 protected:
  static constexpr comparison_changes nothing{};
  static constexpr comparison_changes clear{.clears_equal = true};
  static constexpr comparison_changes drop{.drops_stale = true};

  std::vector<compared_block> compare(std::vector<std::uint64_t> blocks,
                                      comparison_changes wanted = nothing) {
    std::vector<origin_block> named(blocks.begin(), blocks.end());
    auto found = in->compare(named, wanted);
    EXPECT_THAT(found, succeeds());
    return found ? std::move(*found) : std::vector<compared_block>(blocks.size());
  }
  compared_block compare_one(std::uint64_t block, comparison_changes wanted = nothing) {
    return compare({block}, wanted).front();
  }
  cache_block cached_in(std::uint64_t block) {
    return *state().mappings->find(origin_block{block});
  }
  bool is_dirty(std::uint64_t block) { return state().mappings->is_dirty(cached_in(block)); }
  // Both devices hold the same of this sector of part(), though nobody asked the cache for it.
  void copy_behind_its_back(std::uint64_t block, cache_device from, cache_device to) {
    const auto at = [&](cache_device on) {
      return (on == cache_device::fast ? cached_in(block).value() : block) * block_size +
             part(0).begin;
    };
    const auto held = in->device(from).sector(at(from));
    std::vector<std::byte> sector(held.begin(), held.end());
    in->overwrite(to, at(to), sector);
  }
  void rot(std::uint64_t block) {
    std::vector<std::byte> garbage(sector_size, std::byte{7});
    in->overwrite(cache_device::fast, cached_in(block).value() * block_size + block_size - 1,
                  garbage);
  }
  void open_without_cleaning() {
    make();
    engine_options how = options();
    how.cleaning = cleaning_trigger::on_request;
    EXPECT_THAT(in->open(how), succeeds());
  }
  void fail_once(cache_device on, simulated_device::operation op) {
    in->device(on).add_fault({.op = op, .at_most = 1});
  }
};

TEST_F(verify_test, tells_what_is_equal_and_what_differs) {
  open();
  cache(1);
  make_dirty(2);
  const auto found = compare({1, 2, 3});
  EXPECT_EQ(found[0].found, finding::equal);
  EXPECT_FALSE(found[0].is_dirty);
  EXPECT_EQ(found[1].found, finding::differs);
  EXPECT_TRUE(found[1].is_dirty);
  EXPECT_EQ(found[1].cached_in, cached_in(2));
  EXPECT_EQ(found[2].found, finding::not_cached);
}

TEST_F(verify_test, a_clean_block_that_differs_stays_unless_it_is_to_be_dropped) {
  open();
  cache(1);
  rot(1);
  EXPECT_EQ(compare_one(1).found, finding::differs);
  EXPECT_EQ(compare_one(1, clear).found, finding::differs);
  EXPECT_TRUE(is_cached(1));
  const compared_block dropped = compare_one(1, drop);
  EXPECT_TRUE(dropped.is_changed);
  EXPECT_FALSE(is_cached(1));
  in->read_everything(); // the origin counts
  shut_down();
}

TEST_F(verify_test, what_was_dropped_does_not_come_back_after_a_power_cut) {
  open();
  cache(1);
  rot(1);
  EXPECT_TRUE(compare_one(1, drop).is_changed);
  in->cut_power();
  EXPECT_FALSE(is_mapped_on_media(1));
}

TEST_F(verify_test, nothing_dirty_is_dropped) {
  open();
  make_dirty(1);
  EXPECT_FALSE(compare_one(1, drop).is_changed);
  EXPECT_TRUE(is_dirty(1));
}

TEST_F(verify_test, nothing_is_dropped_where_mappings_cannot_change) {
  open();
  cache(1);
  ASSERT_TRUE(in->advance(std::chrono::seconds{2})); // it is committed
  rot(1);
  fail_once(cache_device::metadata, simulated_device::operation::write);
  EXPECT_FALSE(compare_one(1, drop).is_changed);
  EXPECT_TRUE(is_cached(1));
  EXPECT_THAT(in->compare({origin_block{1}}, drop),
              fails_with(failure::failed, "nothing can be cleared or dropped: the metadata can't "
                                          "be written"));
  EXPECT_EQ(compare_one(1).found, finding::differs);
  copy_behind_its_back(1, cache_device::origin, cache_device::fast);
}

TEST_F(verify_test, a_dirty_block_that_is_equal_becomes_clean_when_the_origin_is_flushed) {
  open();
  make_dirty(1);
  EXPECT_THAT(in->flush(), succeeds());
  copy_behind_its_back(1, cache_device::fast, cache_device::origin);
  EXPECT_FALSE(compare_one(1).is_changed);
  EXPECT_TRUE(is_dirty(1));
  const auto flushes = nr_ios(cache_device::origin, operation::flush);
  const auto writes = nr_ios(cache_device::origin, operation::write);
  EXPECT_TRUE(compare_one(1, clear).is_changed);
  EXPECT_FALSE(is_dirty(1));
  EXPECT_FALSE(policy->next_work(true)); // it has heard that nothing is dirty
  EXPECT_EQ(nr_ios(cache_device::origin, operation::flush), flushes + 1);
  EXPECT_EQ(nr_ios(cache_device::origin, operation::write), writes);
  in->cut_power();
}

TEST_F(verify_test, it_stays_dirty_if_the_origin_cannot_be_flushed) {
  open();
  make_dirty(1);
  copy_behind_its_back(1, cache_device::fast, cache_device::origin);
  fail_once(cache_device::origin, simulated_device::operation::flush);
  EXPECT_FALSE(compare_one(1, clear).is_changed);
  EXPECT_TRUE(is_dirty(1));
}

// A device can go on giving what it will never keep.
TEST_F(verify_test, after_a_flush_that_failed_equality_proves_nothing) {
  devices.origin.failed_flush_loses = true;
  open();
  make_dirty(1);
  fail_once(cache_device::origin, simulated_device::operation::flush);
  EXPECT_THAT(in->clean(), fails());
  EXPECT_EQ(compare_one(1).found, finding::equal);
  EXPECT_THAT(in->compare({origin_block{1}}, clear),
              fails_with(failure::failed, testing::StartsWith("nothing can be cleared: a device "
                                                              "couldn't be flushed")));
  EXPECT_TRUE(is_dirty(1));
}

TEST_F(verify_test, a_write_that_comes_meanwhile_makes_it_dirty_again) {
  open_without_cleaning();
  make_dirty(1);
  copy_behind_its_back(1, cache_device::fast, cache_device::origin);
  in->carrier().set_latency(cache_device::origin, {.shortest = std::chrono::seconds{1},
                                                   .longest = std::chrono::seconds{1}});
  in->begin_compare({origin_block{1}}, clear);
  in->submit(operation::write, part(1)); // which waits for the block
  ASSERT_TRUE(in->settle());
  EXPECT_TRUE(is_dirty(1));
  in->cut_power();
}

TEST_F(verify_test, the_policy_can_ask_for_a_block_that_is_being_cleared) {
  open();
  make_dirty(1);
  copy_behind_its_back(1, cache_device::fast, cache_device::origin);
  in->begin_compare({origin_block{1}}, clear);
  policy->write_back(cached_in(1).value());
  const auto writes = nr_ios(cache_device::origin, operation::write);
  ASSERT_TRUE(in->settle());
  EXPECT_FALSE(is_dirty(1));
  EXPECT_EQ(nr_ios(cache_device::origin, operation::write), writes);
  EXPECT_THAT(in->write(part(1)), succeeds());
  policy->write_back(cached_in(1).value()); // it has heard of the end
  EXPECT_THAT(in->clean(), succeeds());
}

TEST_F(verify_test, says_what_could_not_be_read) {
  open();
  cache(1);
  cache(2);
  in->device(cache_device::origin)
      .add_fault({.op = simulated_device::operation::read,
                  .begin = to_bytes(sectors{block_size}),
                  .end = to_bytes(sectors{2 * block_size})});
  const auto found = compare({1, 2}, drop);
  EXPECT_EQ(found[0].found, finding::unreadable);
  EXPECT_EQ(found[0].failure, "read of 32768 bytes at 32768 of the origin: Input/output error");
  EXPECT_TRUE(is_cached(1));
  EXPECT_EQ(found[1].found, finding::equal);
}

TEST_F(verify_test, a_large_block_is_compared_to_its_end) {
  block_size = 4096;
  devices.fast_size = blocks(2);
  devices.origin_size = blocks(4);
  open();
  cache(1);
  EXPECT_EQ(compare_one(1).found, finding::equal);
  rot(1);
  EXPECT_EQ(compare_one(1, drop).found, finding::differs);
}

TEST_F(verify_test, no_more_is_read_at_a_time_than_the_threshold_says) {
  open();
  std::vector<std::uint64_t> all;
  for (std::uint64_t block = 1; block <= 8; ++block) {
    cache(block);
    all.push_back(block);
  }
  const auto nr_reads_at_once = [&](const char *threshold) {
    EXPECT_THAT(in->message({"migration_threshold", threshold}), succeeds());
    const auto before = nr_ios(cache_device::origin, operation::read);
    in->begin_compare({all.begin(), all.end()}, nothing);
    const auto at_once = nr_ios(cache_device::origin, operation::read) - before;
    EXPECT_TRUE(in->settle());
    EXPECT_EQ(nr_ios(cache_device::origin, operation::read) - before, 8U);
    return at_once;
  };
  EXPECT_EQ(nr_reads_at_once("0"), 1U);
  EXPECT_EQ(nr_reads_at_once("192"), 3U);
}

TEST_F(verify_test, blocks_are_promoted_meanwhile) {
  open();
  cache(1);
  EXPECT_THAT(in->message({"migration_threshold", "0"}), succeeds());
  in->carrier().set_latency(cache_device::fast, {.shortest = std::chrono::seconds{100},
                                                 .longest = std::chrono::seconds{100}});
  in->begin_compare({origin_block{1}}, nothing);
  EXPECT_THAT(in->read(part(2)), succeeds());
  EXPECT_EQ(policy->offered.back(), promotion::by_copy);
  ASSERT_TRUE(in->settle());
}

TEST_F(verify_test, a_reload_comes_before_the_next_block) {
  open();
  cache(1);
  cache(2);
  EXPECT_THAT(in->message({"migration_threshold", "0"}), succeeds());
  in->begin_compare({origin_block{1}, origin_block{2}}, nothing);
  in->begin_reload(options(cache_mode::writethrough));
  while (state().mode() != cache_mode::writethrough) {
    ASSERT_EQ(nr_ios(cache_device::fast, operation::read), 1U);
    ASSERT_TRUE(in->step());
  }
  ASSERT_TRUE(in->settle());
  EXPECT_EQ(nr_ios(cache_device::fast, operation::read), 2U);
}

TEST_F(verify_test, a_reload_waits_for_a_chunk_and_not_for_the_whole_block) {
  block_size = 4096;
  devices.fast_size = blocks(2);
  devices.origin_size = blocks(4);
  open();
  cache(1);
  const auto reads = nr_ios(cache_device::fast, operation::read);
  in->begin_compare({origin_block{1}}, nothing);
  EXPECT_THAT(in->reload(options(cache_mode::writethrough)), succeeds());
  EXPECT_EQ(nr_ios(cache_device::fast, operation::read), reads + 1);
}

TEST_F(verify_test, a_shutdown_ends_it) {
  open();
  cache(1);
  cache(2);
  EXPECT_THAT(in->message({"migration_threshold", "0"}), succeeds());
  in->begin_compare({origin_block{1}, origin_block{2}}, clear);
  shut_down();
  EXPECT_EQ(nr_ios(cache_device::fast, operation::read), 1U);
}

} // namespace
} // namespace dmcache
