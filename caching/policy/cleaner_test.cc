#include "caching/policy/cleaner.h"

#include <gtest/gtest.h>

#include "base/testing/matchers.h"

namespace dmcache {
namespace {

constexpr policy_geometry geometry{64, 1000, sectors{128}};

TEST(cleaner, promotes_nothing) {
  cleaner policy{geometry};
  for (int i = 0; i < 100; ++i) {
    policy.tick(static_cast<std::uint64_t>(i));
    EXPECT_FALSE(policy.miss(origin_block{1}, promotion::by_copy));
    EXPECT_FALSE(policy.miss(origin_block{1}, promotion::without_copy));
  }
}

TEST(cleaner, writes_everything_back_also_under_load) {
  cleaner policy{geometry};
  for (std::uint64_t block = 0; block < 4; ++block) {
    policy.load(cache_block{block}, origin_block{block}, block != 2, 20);
  }
  for (const std::uint64_t block : {0U, 1U, 3U}) {
    const auto work = policy.next_work(false);
    ASSERT_TRUE(work);
    EXPECT_EQ(work->task, background_work::kind::write_back);
    EXPECT_EQ(work->block, cache_block{block});
    policy.completed(*work, true);
    policy.hit(cache_block{block});
  }
  EXPECT_FALSE(policy.next_work(true));
  policy.mark_dirty(cache_block{2}); // by a write that hit it
  EXPECT_TRUE(policy.next_work(false));
}

TEST(cleaner, keeps_hints_for_the_policy_that_comes_after_it) {
  cleaner policy{geometry};
  policy.load(cache_block{5}, origin_block{5}, true, 20);
  policy.completed(policy.next_work(false).value(), true);
  EXPECT_EQ(policy.hint(cache_block{5}), 20);
  policy.hit(cache_block{5});
  EXPECT_EQ(policy.hint(cache_block{5}), 21);
}

TEST(cleaner, has_no_settings) {
  cleaner policy{geometry};
  EXPECT_THAT(policy.set("a", "1"),
              fails_with(failure::usage, "policy cleaner has no setting 'a': it takes none"));
}

} // namespace
} // namespace dmcache
