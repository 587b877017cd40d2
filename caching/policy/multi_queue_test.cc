#include "caching/policy/multi_queue.h"

#include <vector>

#include <gtest/gtest.h>

namespace dmcache {
namespace {

constexpr std::uint32_t nr_entries = 1000;
constexpr std::uint32_t enough = 1'000'000; // moves

class multi_queue_test : public testing::Test {
 protected:
  // From the oldest of the lowest level on. Empties the queue.
  std::vector<std::uint32_t> drain() { return drain(queue_); }
  static std::vector<std::uint32_t> drain(multi_queue &queue) {
    std::vector<std::uint32_t> all;
    while (const std::optional<std::uint32_t> entry = queue.oldest()) {
      all.push_back(*entry);
      queue.remove(*entry);
    }
    return all;
  }

  std::uint32_t level(std::uint32_t entry) const { return nodes_[entry].level(); }

  queue_nodes nodes_{nr_entries + std::uint64_t{2} * multi_queue::nr_own_nodes};
  multi_queue queue_{nodes_, nr_entries};
  multi_queue topped_{nodes_, nr_entries + multi_queue::nr_own_nodes, {8, 16}};
};

using entries = std::vector<std::uint32_t>;

TEST_F(multi_queue_test, the_oldest_of_the_lowest_level_comes_first) {
  queue_.push(1, 5);
  queue_.push(2, 3);
  queue_.push(3, 5);
  queue_.push(4, 3);
  EXPECT_EQ(queue_.size(), 4);
  EXPECT_EQ(queue_.size_of(3), 2);
  EXPECT_EQ(drain(), (entries{2, 4, 1, 3}));
  EXPECT_EQ(queue_.size(), 0);
}

TEST_F(multi_queue_test, levels_from_the_end_on_are_not_looked_at) {
  queue_.push(1, 32);
  EXPECT_FALSE(queue_.oldest(32));
  EXPECT_EQ(queue_.oldest(33), 1);
}

TEST_F(multi_queue_test, one_that_rises_changes_places_with_the_oldest_of_the_other_level) {
  queue_.push(1, 3);
  queue_.push(2, 3);
  queue_.push(3, 7);
  queue_.push(4, 7);
  queue_.requeue(1, 4);
  EXPECT_EQ(level(1), 7);
  EXPECT_EQ(level(3), 3);
  EXPECT_EQ(drain(), (entries{2, 3, 4, 1}));
}

TEST_F(multi_queue_test, one_that_rises_to_an_empty_level_changes_places_with_none) {
  queue_.push(1, 3);
  queue_.requeue(1, 4);
  EXPECT_EQ(level(1), 7);
  EXPECT_EQ(queue_.size(), 1);
}

TEST_F(multi_queue_test, one_that_does_not_rise_becomes_the_newest) {
  queue_.push(1, 3);
  queue_.push(2, 3);
  queue_.requeue(1, 0);
  EXPECT_EQ(drain(), (entries{2, 1}));
}

TEST_F(multi_queue_test, nothing_rises_above_the_highest_level) {
  queue_.push(1, 61);
  queue_.push(2, 63);
  queue_.push(3, 63);
  queue_.requeue(1, 4);
  EXPECT_EQ(level(1), 63);
  queue_.requeue(3, 4);
  EXPECT_EQ(drain(), (entries{2, 1, 3}));
}

TEST_F(multi_queue_test, an_entry_is_old_after_two_rotations) {
  queue_.push(1, 9);
  EXPECT_FALSE(queue_.oldest_before_sentinels());
  queue_.rotate_sentinels();
  queue_.push(2, 4);
  EXPECT_FALSE(queue_.oldest_before_sentinels());
  queue_.rotate_sentinels();
  EXPECT_EQ(queue_.oldest_before_sentinels(), 1);
  queue_.rotate_sentinels();
  EXPECT_EQ(queue_.oldest_before_sentinels(), 2);
}

TEST_F(multi_queue_test, a_requeued_entry_is_new) {
  queue_.push(1, 9);
  queue_.rotate_sentinels();
  queue_.requeue(1, 0);
  queue_.rotate_sentinels();
  EXPECT_FALSE(queue_.oldest_before_sentinels());
}

TEST_F(multi_queue_test, an_entry_that_comes_down_for_another_keeps_its_age) {
  queue_.push(1, 10);
  queue_.rotate_sentinels();
  queue_.push(2, 11);
  queue_.push(3, 9);
  queue_.requeue(3, 1); // for 1
  queue_.rotate_sentinels();
  EXPECT_EQ(level(1), 9);
  EXPECT_EQ(queue_.oldest_before_sentinels(), 1);
  queue_.push(4, 10);
  queue_.requeue(4, 1); // for 2
  EXPECT_EQ(level(2), 10);
  queue_.remove(1);
  EXPECT_FALSE(queue_.oldest_before_sentinels());
  queue_.rotate_sentinels();
  EXPECT_EQ(queue_.oldest_before_sentinels(), 3);
  queue_.remove(3);
  EXPECT_EQ(queue_.oldest_before_sentinels(), 2);
}

TEST_F(multi_queue_test, evening_takes_the_oldest_of_the_nearest_higher_level) {
  for (std::uint32_t entry = 0; entry < 65; ++entry) {
    queue_.push(entry, 63);
  }
  EXPECT_TRUE(queue_.redistribute(enough));
  EXPECT_EQ(queue_.size_of(0), 2); // the rest of 65 / 64
  for (std::uint32_t below = 1; below < multi_queue::nr_levels; ++below) {
    EXPECT_EQ(queue_.size_of(below), 1) << below;
  }
  EXPECT_EQ(level(0), 0);
  EXPECT_EQ(level(2), 1);
  EXPECT_EQ(level(64), 63);
}

TEST_F(multi_queue_test, evening_pushes_the_newest_up_one_level) {
  queue_.push(1, 0);
  queue_.push(2, 0);
  queue_.push(3, 0);
  EXPECT_TRUE(queue_.redistribute(enough));
  EXPECT_EQ(level(1), 0);
  EXPECT_EQ(level(3), 1);
  EXPECT_EQ(level(2), 2); // which was newer at level 1 then
}

TEST_F(multi_queue_test, evening_keeps_ages) {
  queue_.push(1, 63);
  queue_.rotate_sentinels();
  queue_.push(2, 63);
  queue_.rotate_sentinels();
  queue_.push(3, 63);
  queue_.redistribute(enough);
  EXPECT_EQ(level(1), 0);
  EXPECT_EQ(level(3), 2);
  EXPECT_EQ(queue_.oldest_before_sentinels(), 1);
  queue_.remove(1);
  EXPECT_FALSE(queue_.oldest_before_sentinels());
  queue_.rotate_sentinels();
  EXPECT_EQ(queue_.oldest_before_sentinels(), 2);

  queue_.push(4, 0);
  queue_.rotate_sentinels();
  queue_.push(5, 0);
  queue_.redistribute(enough);
  EXPECT_EQ(level(5), 3);
  queue_.rotate_sentinels();
  queue_.remove(2);
  queue_.remove(3);
  EXPECT_EQ(queue_.oldest_before_sentinels(), 4);
  queue_.remove(4);
  EXPECT_FALSE(queue_.oldest_before_sentinels());
}

TEST_F(multi_queue_test, evening_may_be_done_little_by_little) {
  for (std::uint32_t entry = 0; entry < nr_entries; ++entry) {
    queue_.push(entry, 63);
  }
  std::uint32_t nr_calls = 1;
  while (!queue_.redistribute(100)) {
    ++nr_calls;
  }
  EXPECT_EQ(nr_calls, 10); // 984 or 985 have to move
  EXPECT_EQ(queue_.size(), nr_entries);
  for (std::uint32_t at = 0; at < multi_queue::nr_levels; ++at) {
    EXPECT_EQ(queue_.size_of(at), at < nr_entries % 64 ? 16 : 15) << at;
  }
}

TEST_F(multi_queue_test, pushing_up_may_be_done_little_by_little) {
  for (std::uint32_t entry = 0; entry < nr_entries; ++entry) {
    queue_.push(entry, 0);
  }
  EXPECT_FALSE(queue_.redistribute(100));
  EXPECT_EQ(queue_.size_of(0), nr_entries - 100);
  EXPECT_EQ(queue_.size_of(1), 100);
  EXPECT_EQ(queue_.size(), nr_entries);
}

TEST_F(multi_queue_test, narrowed_levels_get_no_more_than_their_share) {
  for (std::uint32_t entry = 0; entry < 576; ++entry) {
    topped_.push(entry, 30);
  }
  EXPECT_TRUE(topped_.redistribute(enough));
  for (std::uint32_t at = 0; at < multi_queue::nr_levels; ++at) {
    EXPECT_EQ(topped_.size_of(at), at < 56 ? 10 : 2) << at;
  }
}

TEST_F(multi_queue_test, a_few_entries_all_go_to_the_narrowed_levels) {
  for (std::uint32_t entry = 0; entry < 16; ++entry) {
    topped_.push(entry, 0);
  }
  EXPECT_TRUE(topped_.redistribute(enough));
  EXPECT_EQ(topped_.size_of(55), 0);
  EXPECT_EQ(topped_.size_of(56), 2);
  EXPECT_EQ(topped_.size_of(63), 2);
}

} // namespace
} // namespace dmcache
