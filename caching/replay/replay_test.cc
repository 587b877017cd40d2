#include "caching/replay/replay.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/testing/matchers.h"

namespace dmcache {
namespace {

using testing::HasSubstr;

constexpr bytes small_blocks{32768};

trace reads_of_blocks(std::uint64_t nr_blocks, int rounds) {
  trace made;
  for (int round = 0; round < rounds; ++round) {
    for (std::uint64_t i = 0; i < nr_blocks; ++i) {
      made.requests.push_back({static_cast<double>(round), false, sectors{i * 64}, bytes{4096}});
    }
  }
  return made;
}

replay_plan plan_of(std::vector<replayed_size> sizes) {
  return {{small_blocks, bytes{65536}}, std::move(sizes), {{"lru", {}}, {"cleaner", {}}}, {}};
}

TEST(replay, all_combinations_are_in_the_order_of_the_plan) {
  progress watcher{true};
  const auto outcomes =
      replay_all(reads_of_blocks(100, 3), plan_of({{{}, 100}, {bytes{327680}, 0}}), watcher);
  ASSERT_THAT(outcomes, succeeds());
  ASSERT_EQ(outcomes->size(), 2);
  const replay_of_blocks &small = outcomes->front();
  EXPECT_EQ(small.block_size, small_blocks);
  EXPECT_EQ(small.touched.nr_touched, 100);
  ASSERT_EQ(small.sizes.size(), 2);
  EXPECT_EQ(small.sizes[0].nr_cache_blocks, 100);
  EXPECT_EQ(small.sizes[1].nr_cache_blocks, 10);
  ASSERT_EQ(small.sizes[0].counts.size(), 2);
  EXPECT_EQ(small.sizes[0].counts[0].nr_misses, 100);
  EXPECT_EQ(small.sizes[0].counts[1].nr_misses, 300);
  EXPECT_EQ(small.sizes[1].counts[0].nr_misses, 300); // LRU keeps nothing of a loop that is larger
  EXPECT_EQ(outcomes->back().touched.nr_touched, 50);
  EXPECT_EQ(outcomes->back().sizes[1].nr_cache_blocks, 5);
}

TEST(replay, the_smallest_part_of_what_is_touched_is_a_block) {
  progress watcher{true};
  const auto outcomes = replay_all(reads_of_blocks(10, 1), plan_of({{{}, 0.01}}), watcher);
  ASSERT_THAT(outcomes, succeeds());
  EXPECT_EQ(outcomes->front().sizes.front().nr_cache_blocks, 1);
}

TEST(replay, sizes_that_no_cache_has_are_refused) {
  progress watcher{true};
  const trace replayed = reads_of_blocks(10, 1);
  EXPECT_THAT(
      replay_all(replayed, plan_of({{bytes{32767}, 0}}), watcher),
      fails_with(failure::usage, "a cache of 32767 bytes has no room for a block of 32768"));
  EXPECT_THAT(
      replay_all(replayed, plan_of({{bytes{std::uint64_t{1} << 50}, 0}}), watcher),
      fails_with(failure::usage, HasSubstr("34359738368 cache blocks of 32768 bytes are more "
                                           "than the 67108864 that can be replayed")));
}

TEST(replay, requests_that_would_take_for_ever_are_refused) {
  progress watcher{true};
  const trace replayed{std::vector<trace_request>(
                           100'000, {0, false, sectors{max_trace_sector}, bytes{max_trace_length}}),
                       0};
  EXPECT_THAT(
      replay_all(replayed, plan_of({{{}, 1}}), watcher),
      fails_with(failure::usage, HasSubstr("touch blocks of 32768 bytes 13107200000 times")));
}

TEST(replay, one_replay_gives_the_same_as_all) {
  progress watcher{true};
  const trace replayed = reads_of_blocks(100, 3);
  const auto outcomes = replay_all(
      replayed, {{small_blocks}, {{{}, 50}}, {{"sift", {{"read_touches", "2"}}}}, {}}, watcher);
  ASSERT_THAT(outcomes, succeeds());
  const auto counts =
      replay_one(replayed.requests, {"sift", {{"read_touches", "2"}}}, {50, 100, sectors{64}}, {});
  ASSERT_THAT(counts, succeeds());
  const replay_counts &found = outcomes->front().sizes.front().counts.front();
  EXPECT_GT(counts->nr_promotions, 0);
  EXPECT_EQ(found.nr_misses, counts->nr_misses);
  EXPECT_EQ(found.nr_promotions, counts->nr_promotions);
}

TEST(replay, policies_are_checked) {
  EXPECT_THAT(check_replayed_policy({"lru", {}}), succeeds());
  EXPECT_THAT(check_replayed_policy({"sift", {{"read_touches", "3"}}}), succeeds());
  EXPECT_THAT(check_replayed_policy({"fifo", {}}),
              fails_with(failure::usage, "there is no policy 'fifo': give sift, smq, mq, "
                                         "default or cleaner, or lru, to compare with"));
  EXPECT_THAT(check_replayed_policy({"lru", {{"taste", "1"}}}),
              fails_with(failure::usage, "lru has no setting 'taste'"));
  EXPECT_THAT(check_replayed_policy({"sift", {{"taste", "1"}}}),
              fails_with(failure::usage, HasSubstr("no setting 'taste'")));
}

} // namespace
} // namespace dmcache
