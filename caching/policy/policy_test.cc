// What is true of every policy: its name, and its answers to a random caller.

#include "caching/policy/policy.h"

#include <algorithm>
#include <cstdlib>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/testing/matchers.h"

namespace dmcache {
namespace {

using kind = background_work::kind;
using testing::ElementsAre;
using testing::Pair;

constexpr policy_geometry small{256, 100'000, sectors{128}};

TEST(policy, has_the_name_and_version_that_the_kernel_writes) {
  for (const auto &[given, name] :
       {std::pair{"smq", "smq"}, {"default", "smq"}, {"mq", "mq"}, {"cleaner", "cleaner"}}) {
    const std::unique_ptr<policy> made = make_policy(given, small).value();
    EXPECT_EQ(made->name(), name);
    EXPECT_THAT(made->version(), ElementsAre(2, 0, 0));
    EXPECT_EQ(made->nr_free(), small.nr_cache_blocks);
  }
}

TEST(policy, sift_has_a_name_and_version_of_its_own) {
  const std::unique_ptr<policy> made = make_policy("sift", small).value();
  EXPECT_EQ(made->name(), "sift");
  EXPECT_THAT(made->version(), ElementsAre(1, 0, 0));
  EXPECT_EQ(made->nr_free(), small.nr_cache_blocks);
}

TEST(policy, is_there_if_it_can_be_made) {
  for (const char *name : {"sift", "smq", "mq", "default", "cleaner", "lru", "", "Sift", "smq2"}) {
    EXPECT_EQ(is_policy(name), make_policy(name, small).has_value()) << name;
  }
}

TEST(policy, of_an_unknown_name_is_refused) {
  const auto made = make_policy("lru", small);
  EXPECT_THAT(made, fails_with(failure::usage,
                               "there is no policy 'lru': give sift, smq, mq, default or cleaner"));
}

TEST(policy, of_more_cache_blocks_than_it_can_have_is_refused) {
  const auto made = make_policy("smq", {std::uint64_t{1} << 28, 1 << 30, sectors{128}});
  EXPECT_THAT(made, fails_with(failure::usage,
                               "268435456 cache blocks are more than the 268435071 that a "
                               "policy can have: make the blocks larger"));
}

TEST(policy, mq_takes_and_ignores_its_old_settings) {
  const std::unique_ptr<policy> mq = make_policy("mq", small).value();
  for (const char *key : {"random_threshold", "sequential_threshold", "discard_promote_adjustment",
                          "read_promote_adjustment", "write_promote_adjustment"}) {
    EXPECT_THAT(mq->set(key, "512"), succeeds()) << key;
    EXPECT_THAT(mq->set(key, "many"),
                fails_with(failure::usage, fmt::format("'many' is no number for {}", key)));
    EXPECT_THAT(mq->set(key, "5x"), fails_with(failure::usage));
  }
  EXPECT_THAT(mq->settings(),
              ElementsAre(Pair("random_threshold", "0"), Pair("sequential_threshold", "0"),
                          Pair("discard_promote_adjustment", "0"),
                          Pair("read_promote_adjustment", "0"),
                          Pair("write_promote_adjustment", "0")));
  EXPECT_THAT(mq->set("migration_threshold", "1"),
              fails_with(failure::usage,
                         "policy mq has no setting 'migration_threshold': it takes, and ignores, "
                         "random_threshold, sequential_threshold, discard_promote_adjustment, "
                         "read_promote_adjustment, write_promote_adjustment"));
}

// A caller that keeps to the rules of policy.h in any order, and knows what every block's state is.
class random_caller {
 public:
  enum class state : std::uint8_t { free, reserved, clean, dirty };

  random_caller(std::string_view name, unsigned seed)
      : chance_{seed}, nr_blocks_{1 + below(200)}, states_(nr_blocks_, state::free) {
    policy_ = make_policy(name, {nr_blocks_, 5000, sectors{128U << below(5)}}).value();
    if (name == "sift") {
      EXPECT_THAT(policy_->set("read_touches", std::to_string(1 + below(4))), succeeds());
      EXPECT_THAT(policy_->set("fill_budget", below(3) == 0 ? "5" : "0"), succeeds());
    }
    for (std::uint64_t block = 0; block < nr_blocks_; block += 1 + below(4)) {
      states_[block] = below(2) == 0 ? state::clean : state::dirty;
      const auto hint = static_cast<std::uint32_t>(below(70));
      policy_->load(cache_block{block}, origin_block{block}, states_[block] == state::dirty,
                    below(2) == 0 ? std::optional{hint} : std::nullopt);
    }
  }

  void step() {
    switch (below(12)) {
    case 0:
      return tick();
    case 1:
      return end_promotion();
    case 2:
      return ask();
    case 3:
      return end_work();
    case 4:
      return change_one();
    case 5:
      return miss(static_cast<promotion>(below(4)));
    default:
      return below(2) == 0 ? hit() : miss(promotion::by_copy);
    }
  }

  void check() const {
    EXPECT_EQ(policy_->nr_free(), std::ranges::count(states_, state::free));
    for (std::uint64_t block = 0; block < nr_blocks_; ++block) {
      if (is_used(block)) {
        EXPECT_LT(policy_->hint(cache_block{block}), 64);
      }
    }
  }

  // Ends all that is under way, and then writes back whatever is dirty.
  void drain() {
    for (const background_work &work : std::exchange(works_, {})) {
      policy_->completed(work, false);
    }
    while (const auto work = policy_->next_work(true)) {
      state &now = states_[work->block.value()];
      now = work->task == kind::demote ? state::free : state::clean;
      policy_->completed(*work, true);
    }
    EXPECT_EQ(std::ranges::count(states_, state::dirty), 0);
  }

 private:
  std::uint64_t below(std::uint64_t end) { return chance_() % end; }
  bool is_used(std::uint64_t block) const {
    return states_[block] == state::clean || states_[block] == state::dirty;
  }

  void tick() {
    now_ += below(4);
    policy_->tick(now_);
  }

  void hit() {
    const std::uint64_t block = below(nr_blocks_);
    if (is_used(block)) {
      policy_->hit(cache_block{block});
    }
  }

  void miss(promotion possible) {
    const origin_block missed{below(2) == 0 ? below(5000) : below(50)};
    if (const std::optional<cache_block> block = policy_->miss(missed, possible)) {
      EXPECT_NE(possible, promotion::none);
      EXPECT_EQ(states_[block->value()], state::free);
      states_[block->value()] = state::reserved;
      reserved_.insert(block->value());
    }
  }

  void end_promotion() {
    if (!reserved_.empty()) {
      const std::uint64_t block = reserved_.extract(reserved_.begin()).value();
      const bool is_done = below(4) != 0;
      states_[block] = is_done ? state::clean : state::free;
      policy_->promoted(cache_block{block}, is_done);
    }
  }

  void ask() {
    if (const auto work = policy_->next_work(below(2) == 0)) {
      const std::uint64_t block = work->block.value();
      EXPECT_EQ(states_[block], work->task == kind::demote ? state::clean : state::dirty);
      for (const background_work &other : works_) {
        EXPECT_NE(other.block, work->block) << "named twice";
      }
      works_.push_back(*work);
    }
  }

  void end_work() {
    if (works_.empty()) {
      return;
    }
    const std::size_t at = below(works_.size());
    const background_work work = works_[at];
    works_.erase(works_.begin() + static_cast<std::ptrdiff_t>(at));
    state &now = states_[work.block.value()];
    const bool is_done = below(4) != 0 && (work.task == kind::write_back || now == state::clean);
    if (is_done) {
      now = work.task == kind::demote ? state::free : state::clean;
    }
    policy_->completed(work, is_done);
  }

  void change_one() {
    const std::uint64_t block = below(nr_blocks_);
    if (!is_used(block)) {
      return;
    }
    switch (below(3)) {
    case 0:
      states_[block] = state::dirty;
      return policy_->mark_dirty(cache_block{block});
    case 1:
      states_[block] = state::clean;
      return policy_->mark_clean(cache_block{block});
    default:
      states_[block] = state::free;
      std::erase_if(works_, [&](const auto &work) { return work.block.value() == block; });
      return policy_->invalidated(cache_block{block});
    }
  }

  std::unique_ptr<policy> policy_;
  std::mt19937 chance_;
  std::uint64_t nr_blocks_;
  std::vector<state> states_;
  std::set<std::uint64_t> reserved_;
  std::vector<background_work> works_;
  std::uint64_t now_ = 1000;
};

class random_calls : public testing::TestWithParam<std::string_view> {};

TEST_P(random_calls, keep_every_block_in_one_state) {
  const char *given = std::getenv("DMCACHE_SEED"); // replays a failed run
  const unsigned first = given == nullptr ? 1 : static_cast<unsigned>(std::atoi(given));
  const unsigned end = given == nullptr ? 100 : first + 1;
  for (unsigned seed = first; seed < end && !HasFailure(); ++seed) {
    SCOPED_TRACE(fmt::format("replay with DMCACHE_SEED={}", seed));
    random_caller caller{GetParam(), seed};
    for (unsigned i = 0; i < 5000; ++i) {
      caller.step();
      if (i % 100 == 0) {
        caller.check();
      }
    }
    caller.drain();
    caller.check();
  }
}

INSTANTIATE_TEST_SUITE_P(of, random_calls, testing::Values("sift", "smq", "cleaner"),
                         [](const auto &each) { return std::string{each.param}; });

} // namespace
} // namespace dmcache
