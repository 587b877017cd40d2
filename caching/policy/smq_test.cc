#include "caching/policy/smq.h"

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "base/testing/matchers.h"

namespace dmcache {
namespace {

using kind = background_work::kind;

class smq_test : public testing::Test {
 protected:
  static constexpr std::uint64_t nr_cache_blocks = 128;
  static constexpr std::uint64_t nr_origin_blocks = 1'000'000;

  void load(std::uint64_t block, bool is_dirty, std::uint32_t level) {
    policy_->load(cache_block{block}, origin_block{block}, is_dirty, level);
  }
  // All cache blocks clean, at this level.
  void fill(std::uint32_t level, std::uint64_t from = 0) {
    for (std::uint64_t block = from; block < nr_cache_blocks; ++block) {
      load(block, false, level);
    }
  }
  std::uint32_t level(std::uint64_t block) const { return policy_->hint(cache_block{block}); }
  void hit(std::uint64_t block) { policy_->hit(cache_block{block}); }

  // A miss of an origin block that is not worth a promotion for itself.
  std::optional<cache_block> miss_cold(promotion possible = promotion::by_copy) {
    return policy_->miss(origin_block{cold_ += 16}, possible);
  }
  // Makes misses of `hot` worth a promotion.
  void heat_up() {
    for (int i = 0; i < 16; ++i) {
      policy_->tick(++now_);
      policy_->miss(hot, promotion::none);
    }
  }
  std::optional<cache_block> miss_hot(promotion possible = promotion::by_copy) {
    return policy_->miss(hot, possible);
  }
  void pass(std::uint64_t seconds) {
    for (std::uint64_t i = 0; i < seconds; ++i) {
      policy_->tick(++now_);
    }
  }
  // What is asked for, as far as it goes.
  std::vector<std::uint64_t> ask(kind wanted, bool is_idle = false) {
    std::vector<std::uint64_t> blocks;
    while (const std::optional<background_work> work = policy_->next_work(is_idle)) {
      EXPECT_EQ(work->task, wanted);
      blocks.push_back(work->block.value());
    }
    return blocks;
  }

  static constexpr origin_block hot{3};
  std::uint64_t cold_ = 1000;
  std::uint64_t now_ = 1'000'000'000;
  std::unique_ptr<policy> policy_ =
      make_policy("smq", {nr_cache_blocks, nr_origin_blocks, sectors{128}}).value();
};

using blocks = std::vector<std::uint64_t>;

TEST_F(smq_test, a_hit_raises_by_one_level_once_a_minute) {
  load(7, false, 10);
  pass(1);
  hit(7);
  hit(7);
  EXPECT_EQ(level(7), 11);
  pass(59);
  hit(7);
  EXPECT_EQ(level(7), 11);
  load(8, true, 62); // so that evening moves neither
  pass(1);
  const std::uint32_t evened = level(7);
  hit(7);
  EXPECT_EQ(level(7), evened + 1);
}

TEST_F(smq_test, a_block_of_another_origin_block_can_rise_at_once) {
  load(0, false, 0);
  hit(0);
  policy_->invalidated(cache_block{0});
  load(0, false, 0);
  hit(0);
  EXPECT_EQ(level(0), 1);
}

TEST_F(smq_test, the_hint_is_the_level_and_comes_back_with_it) {
  load(1, false, 0);
  load(2, true, 63);
  load(3, true, 64); // of nobody's
  EXPECT_EQ(level(1), 0);
  EXPECT_EQ(level(2), 63);
  EXPECT_EQ(level(3), 63);
}

TEST_F(smq_test, blocks_without_hint_are_spread_over_the_levels) {
  std::array<unsigned, 64> nr_at{};
  for (std::uint64_t block = 0; block < nr_cache_blocks; ++block) {
    policy_->load(cache_block{block}, origin_block{block}, false, {});
    ++nr_at.at(level(block));
  }
  EXPECT_LE(*std::ranges::max_element(nr_at), 4);
}

TEST_F(smq_test, free_blocks_are_given_in_order) {
  heat_up();
  load(1, false, 0);
  EXPECT_EQ(miss_hot(), cache_block{0});
  EXPECT_EQ(miss_hot(), cache_block{2});
  EXPECT_EQ(policy_->nr_free(), nr_cache_blocks - 3);
}

TEST_F(smq_test, what_is_missed_seldom_is_not_promoted) {
  for (int i = 0; i < 100; ++i) {
    EXPECT_FALSE(miss_cold());
  }
}

TEST_F(smq_test, what_is_missed_often_is_promoted_once_it_stands_high) {
  pass(1);
  EXPECT_FALSE(miss_hot());
  EXPECT_FALSE(miss_hot()); // at level 4
  pass(1);                  // the only one goes to level 56
  EXPECT_TRUE(miss_hot());
}

TEST_F(smq_test, the_better_the_levels_foretell_the_more_of_them_are_believed) {
  constexpr std::array<std::uint32_t, 3> lowest{48, 32, 0};
  hotspot_queue same{{nr_cache_blocks, nr_origin_blocks, sectors{128}}};
  std::set<std::uint32_t> seen; // levels, those of each quality after another
  std::mt19937 chance{1};
  pass(1);
  for (unsigned second = 0; second < 2000; ++second) {
    // So often the same that the quality changes from one second to the next.
    const std::uint64_t range = std::uint64_t{100} << chance() % 6;
    for (int i = 0; i < 100; ++i) {
      const origin_block missed{chance() % range * 16};
      const std::uint32_t at = same.miss(missed);
      const auto quality = static_cast<std::size_t>(same.last_quality());
      seen.insert(static_cast<std::uint32_t>(quality) * 64 + at);
      const auto reserved = policy_->miss(missed, promotion::by_copy);
      ASSERT_EQ(reserved.has_value(), at >= lowest.at(quality)) << at;
      if (reserved) {
        policy_->promoted(*reserved, false);
      }
    }
    pass(1);
    same.end_period();
  }
  for (const unsigned last : {47U, 48U, 64U + 31, 64U + 32, 128U}) {
    EXPECT_TRUE(seen.contains(last)) << last;
  }
}

TEST_F(smq_test, what_needs_no_copy_is_promoted_if_there_is_room) {
  EXPECT_TRUE(miss_cold(promotion::without_copy));
  fill(0, 1);
  EXPECT_FALSE(miss_cold(promotion::without_copy));
  EXPECT_FALSE(policy_->next_work(false)); // and makes no room for itself
}

TEST_F(smq_test, what_cannot_be_promoted_is_not) {
  heat_up();
  EXPECT_FALSE(miss_hot(promotion::none));
  fill(0);
  EXPECT_FALSE(miss_hot(promotion::none));
  EXPECT_FALSE(policy_->next_work(false));
}

TEST_F(smq_test, a_promoted_block_is_clean_and_highest) {
  heat_up();
  const cache_block block = miss_hot().value();
  policy_->promoted(block, true);
  EXPECT_EQ(level(block.value()), 63);
  EXPECT_FALSE(policy_->next_work(true));
}

TEST_F(smq_test, a_failed_promotion_leaves_the_block_free) {
  heat_up();
  policy_->promoted(miss_hot().value(), false);
  EXPECT_EQ(policy_->nr_free(), nr_cache_blocks);
}

TEST_F(smq_test, a_promotion_without_room_demotes_the_oldest_of_the_lowest_level) {
  heat_up();
  load(0, false, 9);
  load(1, false, 5);
  load(2, false, 5);
  fill(40, 3);
  EXPECT_FALSE(policy_->next_work(true));
  EXPECT_FALSE(miss_hot());
  EXPECT_EQ(ask(kind::demote), (blocks{1, 2, 0}));
  policy_->completed({kind::demote, cache_block{2}}, true);
  EXPECT_EQ(policy_->nr_free(), 1);
  EXPECT_EQ(miss_hot(), cache_block{2});
}

TEST_F(smq_test, the_upper_half_of_the_levels_is_not_demoted) {
  heat_up();
  load(0, false, 31);
  fill(32, 1);
  miss_hot();
  EXPECT_EQ(ask(kind::demote), (blocks{0}));
}

TEST_F(smq_test, a_quarter_of_the_cache_is_freed_when_a_promotion_finds_no_room) {
  heat_up();
  fill(0);
  EXPECT_FALSE(policy_->next_work(true));
  EXPECT_FALSE(miss_hot());
  const blocks named = ask(kind::demote);
  EXPECT_EQ(named.size(), nr_cache_blocks / 4);
  EXPECT_FALSE(miss_hot());
  EXPECT_FALSE(policy_->next_work(false)); // that many are being freed
  for (const std::uint64_t block : named) {
    policy_->completed({kind::demote, cache_block{block}}, true);
  }
  for (std::uint64_t i = 0; i < named.size(); ++i) {
    EXPECT_FALSE(policy_->next_work(true));
    policy_->promoted(miss_hot().value(), true);
  }
  EXPECT_FALSE(policy_->next_work(true)); // none is free, but nobody wants one
  EXPECT_FALSE(miss_hot());
  EXPECT_TRUE(policy_->next_work(false));
}

TEST_F(smq_test, what_is_free_already_counts_for_that_quarter) {
  heat_up();
  fill(0);
  miss_hot();
  for (int i = 0; i < 20; ++i) {
    policy_->completed(policy_->next_work(false).value(), true);
  }
  EXPECT_EQ(ask(kind::demote).size(), nr_cache_blocks / 4 - 20);
}

TEST_F(smq_test, an_invalidated_block_does_not_count_as_being_freed) {
  heat_up();
  fill(0);
  miss_hot();
  for (const std::uint64_t block : ask(kind::demote)) {
    policy_->invalidated(cache_block{block});
  }
  while (miss_hot()) {
  }
  EXPECT_EQ(ask(kind::demote).size(), nr_cache_blocks / 4);
}

TEST_F(smq_test, a_failed_demotion_does_not_count_as_being_freed) {
  heat_up();
  fill(0);
  miss_hot();
  const blocks named = ask(kind::demote);
  policy_->completed({kind::demote, cache_block{named.front()}}, false);
  miss_hot();
  EXPECT_EQ(ask(kind::demote).size(), 1);
}

TEST_F(smq_test, after_a_failed_demotion_dirty_blocks_are_written_back) {
  heat_up();
  load(0, true, 0);
  fill(0, 1);
  miss_hot();
  const auto work = policy_->next_work(true);
  ASSERT_EQ(work.value().task, kind::demote);
  policy_->completed(*work, false);
  EXPECT_EQ(policy_->next_work(true).value().task, kind::write_back);
}

TEST_F(smq_test, a_cache_of_one_block_changes_it_too) {
  policy_ = make_policy("smq", {1, nr_origin_blocks, sectors{128}}).value();
  load(0, false, 0);
  for (int i = 0; i < 100; ++i) {
    miss_cold(); // for no level is high if there are few
  }
  heat_up();
  miss_hot();
  EXPECT_EQ(ask(kind::demote), (blocks{0}));
}

TEST_F(smq_test, without_a_clean_block_to_demote_a_dirty_one_is_written_back) {
  heat_up();
  load(0, true, 50);
  load(1, true, 45);
  fill(32, 2);
  miss_hot();
  EXPECT_EQ(ask(kind::write_back), (blocks{1}));
  policy_->completed({kind::write_back, cache_block{1}}, true);
  EXPECT_EQ(level(1), 45);
}

TEST_F(smq_test, a_failed_demotion_leaves_the_block_as_it_was) {
  heat_up();
  fill(3);
  miss_hot();
  ASSERT_EQ(ask(kind::demote).front(), 0);
  policy_->mark_dirty(cache_block{0});
  policy_->completed({kind::demote, cache_block{0}}, false);
  EXPECT_EQ(level(0), 3);
  EXPECT_EQ(ask(kind::write_back, true), (blocks{0}));
}

TEST_F(smq_test, an_idle_cache_writes_everything_back_oldest_first) {
  load(4, true, 9);
  load(3, true, 9);
  load(2, true, 1);
  load(1, false, 0);
  EXPECT_EQ(ask(kind::write_back, false), blocks{});
  EXPECT_EQ(ask(kind::write_back, true), (blocks{2, 4, 3}));
}

TEST_F(smq_test, a_busy_cache_writes_back_what_has_been_dirty_for_a_full_rotation) {
  pass(1);
  load(4, true, 9);
  pass(10);
  load(3, true, 8);
  EXPECT_EQ(ask(kind::write_back), blocks{});
  pass(9);
  EXPECT_EQ(ask(kind::write_back), blocks{});
  pass(1);
  EXPECT_EQ(ask(kind::write_back), (blocks{4}));
  pass(10);
  EXPECT_EQ(ask(kind::write_back), (blocks{3}));
}

TEST_F(smq_test, blocks_that_are_written_all_the_time_are_written_back_too) {
  for (std::uint64_t block = 0; block < nr_cache_blocks; ++block) {
    load(block, true, static_cast<std::uint32_t>(block % 64));
  }
  std::vector<bool> seen(nr_cache_blocks);
  for (int i = 0; i < 100; ++i) {
    pass(1);
    for (std::uint64_t block = 0; block < nr_cache_blocks; ++block) {
      hit(block);
    }
    for (const std::uint64_t block : ask(kind::write_back)) {
      seen[block] = true;
      policy_->completed({kind::write_back, cache_block{block}}, true);
      policy_->mark_dirty(cache_block{block});
    }
  }
  EXPECT_TRUE(std::ranges::all_of(seen, [](bool each) { return each; }));
}

TEST_F(smq_test, a_failed_write_back_is_asked_for_again) {
  load(4, true, 9);
  ASSERT_EQ(ask(kind::write_back, true), (blocks{4}));
  policy_->completed({kind::write_back, cache_block{4}}, false);
  EXPECT_EQ(ask(kind::write_back, true), (blocks{4}));
  policy_->completed({kind::write_back, cache_block{4}}, true);
  EXPECT_EQ(ask(kind::write_back, true), blocks{});
}

TEST_F(smq_test, what_became_clean_by_itself_is_not_written_back) {
  load(4, false, 9);
  policy_->mark_dirty(cache_block{4});
  policy_->mark_clean(cache_block{4});
  policy_->mark_clean(cache_block{4});
  EXPECT_EQ(level(4), 9);
  EXPECT_EQ(ask(kind::write_back, true), blocks{});
}

TEST_F(smq_test, telling_again_that_a_block_is_dirty_does_not_make_it_younger) {
  pass(1);
  load(4, true, 9);
  pass(10);
  policy_->mark_dirty(cache_block{4});
  pass(10);
  EXPECT_EQ(ask(kind::write_back), (blocks{4}));
}

TEST_F(smq_test, a_block_that_is_hit_while_it_is_worked_on_stays_where_it_was) {
  load(4, true, 9);
  ASSERT_EQ(ask(kind::write_back, true), (blocks{4}));
  hit(4);
  policy_->completed({kind::write_back, cache_block{4}}, true);
  EXPECT_EQ(level(4), 9);
  hit(4);
  EXPECT_EQ(level(4), 10);
}

TEST_F(smq_test, an_invalidated_block_is_free_whatever_was_to_be_done_with_it) {
  heat_up();
  load(0, true, 0);
  load(1, false, 0);
  fill(40, 2);
  miss_hot();
  ASSERT_EQ(policy_->next_work(false)->block, cache_block{1});
  ASSERT_EQ(policy_->next_work(false)->block, cache_block{0});
  for (const std::uint64_t block : {0U, 1U, 2U}) {
    policy_->invalidated(cache_block{block});
  }
  EXPECT_EQ(policy_->nr_free(), 3);
  EXPECT_EQ(miss_hot(), cache_block{0});
}

TEST_F(smq_test, every_minute_the_levels_are_evened) {
  for (std::uint64_t block = 0; block < nr_cache_blocks; ++block) {
    load(block, block % 2 != 0, 63);
  }
  pass(60);
  EXPECT_EQ(level(0), 63);
  EXPECT_EQ(level(1), 63);
  pass(1);
  for (std::uint64_t block = 0; block < nr_cache_blocks; ++block) {
    EXPECT_EQ(level(block), block / 2) << block; // one clean and one dirty at each
  }
}

TEST_F(smq_test, has_no_settings) {
  EXPECT_EQ(policy_->settings().size(), 0);
  const result<> set = policy_->set("random_threshold", "4");
  EXPECT_THAT(set, fails_with(failure::usage,
                              "policy smq has no setting 'random_threshold': it takes none"));
}

using smq_death_test = smq_test;

TEST_F(smq_death_test, events_that_the_state_does_not_allow_are_noticed) {
  load(0, true, 0);
  ASSERT_EQ(ask(kind::write_back, true), (blocks{0}));
  EXPECT_DEATH(policy_->completed({kind::demote, cache_block{0}}, true), "what ends was asked for");
  EXPECT_DEATH(policy_->promoted(cache_block{0}, true), "what ends is a promotion");
  EXPECT_DEATH(load(0, true, 0), "a block that is loaded was free");
  EXPECT_DEATH(hit(1), "a block that is hit is in use");
  EXPECT_DEATH(hit(nr_cache_blocks), "the cache has the block");
  EXPECT_DEATH(policy_->mark_dirty(cache_block{1}), "is in use");
  EXPECT_DEATH(policy_->invalidated(cache_block{1}), "is in use");
  EXPECT_DEATH(level(1), "is in use");
}

TEST_F(smq_death_test, a_dirty_block_is_never_demoted) {
  heat_up();
  fill(3);
  miss_hot();
  ASSERT_EQ(ask(kind::demote).front(), 0);
  policy_->mark_dirty(cache_block{0});
  EXPECT_DEATH(policy_->completed({kind::demote, cache_block{0}}, true),
               "a block that is demoted is clean");
}

TEST_F(smq_test, says_how_often_an_area_has_to_be_missed) {
  fill(0, 1);
  EXPECT_THAT(
      policy_->account_of_uncached(hot).text,
      testing::StartsWith("Its area, of 16 blocks, was not missed of late. A miss is worth a copy "
                          "from level 48 on"));
  heat_up();
  const block_account account = policy_->account_of_uncached(hot);
  EXPECT_THAT(account.text, testing::StartsWith("Its area, of 16 blocks, stands at level "));
  EXPECT_THAT(account.text, testing::HasSubstr(" of 63 for its misses."));
  EXPECT_THAT(account.counts, testing::Contains(testing::Pair("cache_blocks_free", 1)));
  EXPECT_TRUE(miss_hot());
  EXPECT_THAT(policy_->account_of_uncached(hot).text, testing::HasSubstr("no cache block is free"));
}

TEST_F(smq_test, says_where_a_cached_block_stands) {
  load(5, false, 7);
  EXPECT_THAT(policy_->account_of_cached(cache_block{5}).counts,
              testing::ElementsAre(testing::Pair("level", 7)));
}

} // namespace
} // namespace dmcache
