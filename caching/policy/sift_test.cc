#include "caching/policy/sift.h"

#include <algorithm>
#include <chrono>
#include <initializer_list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/testing/matchers.h"

namespace dmcache {
namespace {

using kind = background_work::kind;
using std::chrono::microseconds;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

constexpr std::uint64_t nr_cache_blocks = 64; // of which 2 are to be free
constexpr std::uint64_t nr_origin_blocks = 1'000'000;

class sift_test : public testing::Test {
 protected:
  void make(sectors block_size) {
    policy_.emplace(policy_geometry{nr_cache_blocks, nr_origin_blocks, block_size});
  }
  void SetUp() override { make(sectors{128}); }

  // Uses all cache blocks but these two: from then on, touches decide.
  void fill(bool is_dirty = false, std::uint32_t hint = 0) {
    for (std::uint64_t block = 0; block < nr_cache_blocks - 2; ++block) {
      policy_->load(cache_block{block}, origin_block{block}, is_dirty, hint);
    }
  }
  // After which reuse counts as unlikely.
  void scan() {
    for (int i = 0; i < 10'000; ++i) {
      policy_->miss(origin_block{scanned_++}, promotion::none);
    }
  }
  std::optional<cache_block> read(std::uint64_t block) {
    return policy_->miss(origin_block{block}, promotion::by_copy);
  }
  // The number of the touch that promotes it.
  unsigned touches_until_promoted(std::uint64_t block, promotion possible,
                                  bool is_visited_once = true) {
    for (unsigned i = 1; i < 100; ++i) {
      if (const auto into = policy_->miss(origin_block{block}, possible)) {
        policy_->promoted(*into, false); // so that the next one has room
        return i;
      }
      if (!is_visited_once) {
        policy_->miss(origin_block{scanned_++}, promotion::none);
      }
    }
    return 0;
  }
  void promote(std::uint64_t block) {
    const auto into = read(block);
    ASSERT_TRUE(into);
    policy_->promoted(*into, true);
  }
  void hit(std::uint64_t block) { policy_->hit(cache_block{block}); }
  void dirty(std::uint64_t block) { policy_->mark_dirty(cache_block{block}); }
  void set(std::string_view key, std::string_view value) {
    ASSERT_THAT(policy_->set(key, value), succeeds());
  }
  void pass(std::uint64_t seconds) { policy_->tick(now_ += seconds); }
  // All that is asked for of one kind, which doesn't end.
  std::vector<std::uint64_t> ask(kind wanted, bool is_idle = false) {
    std::vector<std::uint64_t> blocks;
    while (const std::optional<background_work> work = policy_->next_work(is_idle)) {
      EXPECT_EQ(work->task, wanted);
      blocks.push_back(work->block.value());
    }
    return blocks;
  }
  void complete(kind task, std::uint64_t block, bool is_done) {
    policy_->completed({task, cache_block{block}}, is_done);
  }

  std::optional<sift> policy_;
  std::uint64_t scanned_ = 100'000;
  std::uint64_t now_ = 1000;
};

// Promotion. --------------------------------------------------------------------------------------

TEST_F(sift_test, an_empty_cache_takes_whatever_comes) {
  for (std::uint64_t block = 0; block < nr_cache_blocks - 2; ++block) {
    EXPECT_TRUE(policy_->miss(origin_block{block}, promotion::after_write));
  }
  EXPECT_FALSE(policy_->miss(origin_block{1000}, promotion::after_write));
}

TEST_F(sift_test, an_empty_cache_does_not_take_a_scan) {
  scan();
  EXPECT_FALSE(read(1));
  EXPECT_FALSE(policy_->miss(origin_block{2}, promotion::without_copy));
}

TEST_F(sift_test, a_read_is_promoted_at_once_and_a_write_at_its_third_touch) {
  fill();
  EXPECT_EQ(touches_until_promoted(1000, promotion::by_copy), 1);
  EXPECT_EQ(touches_until_promoted(1001, promotion::after_write), 3);
  EXPECT_EQ(touches_until_promoted(1002, promotion::without_copy), 3);
}

TEST_F(sift_test, writing_a_block_once_from_end_to_end_does_not_promote_it) {
  for (const auto &[block_size, touches] :
       {std::pair{64U, 3U}, {128U, 3U}, {512U, 6U}, {2048U, 18U}, {4096U, 31U}, {65536U, 31U}}) {
    make(sectors{block_size});
    fill();
    EXPECT_EQ(touches_until_promoted(1000, promotion::after_write), touches) << block_size;
  }
}

TEST_F(sift_test, touches_before_a_promotion_count_once) {
  fill();
  EXPECT_EQ(touches_until_promoted(1000, promotion::after_write), 3);
  EXPECT_EQ(touches_until_promoted(1000, promotion::after_write), 3);
}

TEST_F(sift_test, touches_of_what_cannot_be_promoted_count) {
  fill();
  policy_->miss(origin_block{1000}, promotion::none);
  policy_->miss(origin_block{1000}, promotion::none);
  EXPECT_EQ(touches_until_promoted(1000, promotion::after_write), 1);
}

TEST_F(sift_test, as_many_touches_as_it_is_told) {
  fill();
  set("read_touches", "4");
  set("write_touches", "7");
  EXPECT_EQ(touches_until_promoted(1000, promotion::by_copy), 4);
  EXPECT_EQ(touches_until_promoted(1001, promotion::after_write), 7);
  set("write_touches", "2");
  EXPECT_EQ(touches_until_promoted(1002, promotion::after_write), 4); // no fewer than a read
  set("read_touches", "auto");
  EXPECT_EQ(touches_until_promoted(1003, promotion::by_copy), 1);
}

TEST_F(sift_test, a_read_needs_as_many_touches_as_a_copy_takes_reads) {
  for (const auto &[miss, block, touches] : {std::tuple{8000, 9300, 1U},
                                             {1032, 3048, 3U},
                                             {1000, 9000, 9U},
                                             {1000, 1499, 1U},
                                             {1000, 1501, 2U},
                                             {1, 1000, 16U},
                                             {1000, 1, 1U},
                                             {0, 1, 16U}}) {
    make(sectors{128});
    fill();
    policy_->measured({microseconds{miss}, microseconds{block}});
    EXPECT_EQ(touches_until_promoted(1000, promotion::by_copy), touches) << miss << " " << block;
    set("read_touches", "2");
    EXPECT_EQ(touches_until_promoted(1001, promotion::by_copy), 2); // what is said counts more
  }
}

TEST_F(sift_test, in_a_scan_only_what_is_visited_again_is_promoted) {
  fill();
  scan();
  EXPECT_EQ(touches_until_promoted(1000, promotion::by_copy, true), 0);
  EXPECT_EQ(touches_until_promoted(1001, promotion::by_copy, false), 2);
}

TEST_F(sift_test, after_a_scan_a_single_read_is_promoted_again) {
  fill();
  scan();
  for (std::uint64_t round = 0; round < 2; ++round) {
    for (std::uint64_t block = 0; block < 500; ++block) {
      policy_->miss(origin_block{block}, promotion::none);
    }
  }
  EXPECT_TRUE(read(1000));
}

// Hits that follow the promotion at once are part of the same visit.
TEST_F(sift_test, what_is_promoted_and_not_visited_again_is_learned_to_be_of_no_use) {
  fill(false, 3);
  for (std::uint64_t i = 0; i < 1600; ++i) { // too few for the tally to lose any
    if (const auto into = read(10'000 + i)) {
      policy_->promoted(*into, true);
      policy_->hit(*into);
    }
    while (const auto work = policy_->next_work(false)) {
      policy_->completed(*work, true);
    }
  }
  EXPECT_FALSE(read(5000));
}

TEST_F(sift_test, a_hit_after_a_miss_of_another_block_is_another_visit) {
  fill(false, 3);
  for (std::uint64_t i = 0; i < 1600; ++i) {
    if (const auto into = read(10'000 + i)) {
      policy_->promoted(*into, true);
      policy_->miss(origin_block{9999}, promotion::none);
      policy_->hit(*into);
    }
    while (const auto work = policy_->next_work(false)) {
      policy_->completed(*work, true);
    }
  }
  EXPECT_TRUE(read(5000));
}

TEST_F(sift_test, a_budget_bounds_what_is_promoted) {
  fill();
  set("fill_budget", "0.001"); // of which 4 can be saved, and 2 are at the start
  const auto is_promoted_at_last = [this](std::uint64_t block) {
    return touches_until_promoted(block, promotion::by_copy) != 0;
  };
  EXPECT_TRUE(is_promoted_at_last(1000));
  EXPECT_TRUE(is_promoted_at_last(1001));
  EXPECT_FALSE(is_promoted_at_last(1002));
  pass(0);
  pass(1001);
  EXPECT_TRUE(is_promoted_at_last(1002));
  EXPECT_FALSE(is_promoted_at_last(1003));
  set("fill_budget", "0");
  EXPECT_TRUE(is_promoted_at_last(1003));
}

// What goes. --------------------------------------------------------------------------------------

TEST_F(sift_test, two_blocks_of_64_are_kept_free) {
  fill();
  EXPECT_THAT(ask(kind::demote), IsEmpty());
  promote(1000);
  EXPECT_THAT(ask(kind::demote), ElementsAre(0));
  promote(1001);
  EXPECT_THAT(ask(kind::demote), ElementsAre(1));
  EXPECT_FALSE(read(1002)); // there is none until these have gone
  complete(kind::demote, 0, true);
  EXPECT_TRUE(read(1002));
}

TEST_F(sift_test, each_hit_up_to_three_spares_a_block_once) {
  fill(false, 3);
  policy_->load(cache_block{62}, origin_block{62}, false, 0);
  policy_->load(cache_block{63}, origin_block{63}, false, 2);
  hit(62);
  EXPECT_THAT(ask(kind::demote), ElementsAre(62, 63));
  make(sectors{128});
  fill(false, 3);
  policy_->load(cache_block{62}, origin_block{62}, false, 2);
  policy_->load(cache_block{63}, origin_block{63}, false, 2);
  for (int i = 0; i < 10; ++i) {
    hit(62);
  }
  EXPECT_EQ(policy_->hint(cache_block{62}), 3);
  EXPECT_THAT(ask(kind::demote), ElementsAre(63, 0));
}

TEST_F(sift_test, a_dirty_block_is_written_back_and_goes_then) {
  fill();
  promote(1000);
  dirty(0);
  EXPECT_EQ(policy_->next_work(false)->task, kind::write_back);
  complete(kind::write_back, 0, true);
  EXPECT_THAT(ask(kind::demote), ElementsAre(0));
}

TEST_F(sift_test, a_block_that_was_hit_while_it_was_written_back_stays) {
  fill();
  promote(1000);
  dirty(0);
  EXPECT_EQ(policy_->next_work(false)->block, cache_block{0});
  hit(0);
  complete(kind::write_back, 0, true);
  EXPECT_THAT(ask(kind::demote), ElementsAre(1));
}

TEST_F(sift_test, a_block_that_was_written_to_while_it_was_written_back_stays_dirty) {
  fill();
  promote(1000);
  dirty(0);
  EXPECT_EQ(policy_->next_work(false)->block, cache_block{0});
  dirty(0);
  complete(kind::write_back, 0, false);
  EXPECT_THAT(ask(kind::demote), ElementsAre(1));
  EXPECT_THAT(ask(kind::write_back, true), ElementsAre(0));
}

TEST_F(sift_test, dirty_blocks_are_written_back_though_none_can_be_demoted) {
  fill();
  promote(1000);
  dirty(50);
  ASSERT_THAT(ask(kind::demote), ElementsAre(0));
  complete(kind::demote, 0, false);
  EXPECT_THAT(ask(kind::write_back, true), ElementsAre(50));
  policy_->miss(origin_block{2000}, promotion::none);
  EXPECT_THAT(ask(kind::demote), IsEmpty());
  policy_->miss(origin_block{2000}, promotion::after_write); // it is possible again
  EXPECT_THAT(ask(kind::demote), ElementsAre(1));
}

TEST_F(sift_test, what_was_invalidated_while_it_was_demoted_is_free) {
  fill();
  promote(1000);
  ASSERT_THAT(ask(kind::demote), ElementsAre(0));
  policy_->invalidated(cache_block{0});
  EXPECT_EQ(policy_->nr_free(), 2);
  EXPECT_THAT(ask(kind::demote), IsEmpty());
  promote(1001);
  EXPECT_THAT(ask(kind::demote), ElementsAre(1)); // it isn't counted as being demoted any more
}

// What is written back. ---------------------------------------------------------------------------

TEST_F(sift_test, when_idle_all_dirty_blocks_are_written_back) {
  fill();
  for (const std::uint64_t block : {3U, 9U, 40U}) {
    dirty(block);
  }
  EXPECT_THAT(ask(kind::write_back, true), ElementsAre(3, 9, 40));
  complete(kind::write_back, 9, false);
  complete(kind::write_back, 3, true);
  EXPECT_THAT(ask(kind::write_back, true), ElementsAre(9));
}

TEST_F(sift_test, under_load_what_was_not_rewritten_for_a_minute_is_written_back) {
  fill();
  pass(0);
  dirty(3);
  dirty(9);
  pass(60);
  EXPECT_THAT(ask(kind::write_back), IsEmpty());
  dirty(9);
  pass(60);
  EXPECT_THAT(ask(kind::write_back), ElementsAre(3));
  pass(60);
  EXPECT_THAT(ask(kind::write_back), ElementsAre(9));
}

TEST_F(sift_test, or_for_as_long_as_it_is_told) {
  fill();
  set("clean_after", "600");
  pass(0);
  dirty(3);
  pass(600);
  EXPECT_THAT(ask(kind::write_back), IsEmpty());
  pass(30);
  EXPECT_THAT(ask(kind::write_back), ElementsAre(3)); // the fourth of 64
  dirty(60);
  pass(300);
  EXPECT_THAT(ask(kind::write_back), IsEmpty());
}

TEST_F(sift_test, the_sweep_goes_on_while_nothing_is_dirty) {
  fill();
  pass(0);
  pass(30);
  EXPECT_THAT(ask(kind::write_back), IsEmpty()); // it stands in the middle
  dirty(3);
  dirty(40);
  EXPECT_EQ(policy_->next_work(true)->block, cache_block{40});
}

// Hints and settings. -----------------------------------------------------------------------------

TEST_F(sift_test, hints_say_how_often_a_block_was_hit_and_where_the_hand_stands) {
  policy_->load(cache_block{0}, origin_block{0}, false, 0);
  policy_->load(cache_block{1}, origin_block{1}, false, 2);
  policy_->load(cache_block{2}, origin_block{2}, false, 3 + 8);
  policy_->load(cache_block{3}, origin_block{3}, false, 7);
  EXPECT_EQ(policy_->hint(cache_block{0}), 0);
  EXPECT_EQ(policy_->hint(cache_block{1}), 2);
  EXPECT_EQ(policy_->hint(cache_block{2}), 3 + 8);
  EXPECT_EQ(policy_->hint(cache_block{3}), 3);
  hit(1);
  EXPECT_EQ(policy_->hint(cache_block{1}), 3);
}

TEST_F(sift_test, without_hints_every_other_block_goes_first) {
  for (std::uint64_t block = 0; block < nr_cache_blocks; ++block) {
    policy_->load(cache_block{block}, origin_block{block}, false, {});
  }
  EXPECT_THAT(ask(kind::demote), ElementsAre(0, 2));
}

TEST_F(sift_test, tells_its_settings) {
  EXPECT_THAT(policy_->settings(),
              ElementsAre(Pair("read_touches", "auto"), Pair("write_touches", "3"),
                          Pair("fill_budget", "0"), Pair("clean_after", "60")));
  set("read_touches", "3");
  set("write_touches", "31");
  set("fill_budget", "0.25");
  set("clean_after", "86400");
  EXPECT_THAT(policy_->settings(),
              ElementsAre(Pair("read_touches", "3"), Pair("write_touches", "31"),
                          Pair("fill_budget", "0.25"), Pair("clean_after", "86400")));
}

TEST_F(sift_test, takes_back_the_settings_that_it_tells) {
  set("fill_budget", "12345.678");
  for (const auto &[key, value] : policy_->settings()) {
    EXPECT_THAT(policy_->set(key, value), succeeds()) << key;
  }
}

TEST_F(sift_test, clean_blocks_alone_make_room_if_nothing_is_to_be_written_back) {
  fill(true);
  policy_->load(cache_block{nr_cache_blocks - 1}, origin_block{1000}, true, 0);
  EXPECT_FALSE(policy_->next_demotion());
  policy_->mark_clean(cache_block{40});
  const auto work = policy_->next_demotion();
  ASSERT_TRUE(work);
  EXPECT_EQ(work->task, kind::demote);
  EXPECT_EQ(work->block, cache_block{40});
}

TEST_F(sift_test, refuses_wrong_settings_and_keeps_those_in_force) {
  const auto before = policy_->settings();
  for (const char *value : {"0", "32", "-1", "Auto", ""}) {
    EXPECT_THAT(policy_->set("read_touches", value),
                fails_with(failure::usage,
                           fmt::format("read_touches is auto or 1 to 31, not '{}'", value)));
  }
  for (const char *value : {"0", "32", "auto"}) {
    EXPECT_THAT(
        policy_->set("write_touches", value),
        fails_with(failure::usage, fmt::format("write_touches is 1 to 31, not '{}'", value)));
  }
  for (const char *value : {"-1", "nan", "inf", "1e99", "5x"}) {
    EXPECT_THAT(policy_->set("fill_budget", value),
                fails_with(failure::usage,
                           fmt::format("fill_budget is a number of promotions a second, or 0 for "
                                       "any, not '{}'",
                                       value)));
  }
  for (const char *value : {"0", "86401", "1.5"}) {
    EXPECT_THAT(policy_->set("clean_after", value),
                fails_with(failure::usage,
                           fmt::format("clean_after is 1 to 86400 seconds, not '{}'", value)));
  }
  EXPECT_THAT(policy_->set("migration_threshold", "1"),
              fails_with(failure::usage,
                         "policy sift has no setting 'migration_threshold': it takes read_touches, "
                         "write_touches, fill_budget and clean_after"));
  EXPECT_EQ(policy_->settings(), before);
}

using sift_death_test = sift_test;

TEST_F(sift_death_test, events_that_the_state_does_not_allow_are_noticed) {
  EXPECT_DEATH(policy_->load(cache_block{nr_cache_blocks}, origin_block{1}, false, {}),
               "the cache has the block");
  EXPECT_DEATH(static_cast<void>(policy_->hint(cache_block{nr_cache_blocks})),
               "the cache has the block");
  EXPECT_DEATH(policy_->mark_clean(cache_block{1}), "a block that becomes clean is in use");
  EXPECT_DEATH(policy_->mark_dirty(cache_block{1}), "a block that becomes dirty is in use");
}

} // namespace
} // namespace dmcache
