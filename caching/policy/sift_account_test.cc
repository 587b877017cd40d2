// What sift says of a block.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/testing/matchers.h"
#include "caching/policy/sift.h"

namespace dmcache {
namespace {

using testing::Contains;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Pair;

class sift_account_test : public testing::Test {
 protected:
  static constexpr std::uint64_t nr_cache_blocks = 64; // of which 2 are to be free
  static constexpr origin_block asked{5000};

  void fill(std::uint64_t nr_blocks = nr_cache_blocks - 2) {
    for (std::uint64_t block = 0; block < nr_blocks; ++block) {
      policy_.load(cache_block{block}, origin_block{block}, false, 0);
    }
  }
  void touch(unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
      policy_.miss(asked, promotion::none);
    }
  }
  std::string text() const { return policy_.account_of_uncached(asked).text; }

  sift policy_{{nr_cache_blocks, 1'000'000, sectors{128}}};
};

TEST_F(sift_account_test, a_cache_that_has_room_takes_the_next_one) {
  EXPECT_EQ(text(),
            "It was not touched of late, or is forgotten. A read promotes it at touch 1, that is, "
            "the next one; a write at touch 1, that is, the next one. The cache has room, so one "
            "touch is enough.");
}

TEST_F(sift_account_test, tells_what_is_missing) {
  fill();
  touch(1);
  EXPECT_EQ(text(),
            "It was touched 1 time of late, and was not cached. A read promotes it at touch 1, "
            "that is, the next one; a write at touch 3, that is, one after 1 more touch.");
  touch(1);
  EXPECT_THAT(text(), EndsWith("a write at touch 3, that is, the next one."));
}

// What it says happens.
TEST_F(sift_account_test, the_touch_that_it_names_promotes) {
  fill();
  touch(1);
  EXPECT_FALSE(policy_.miss(asked, promotion::after_write));
  EXPECT_THAT(text(), EndsWith("a write at touch 3, that is, the next one."));
  EXPECT_TRUE(policy_.miss(asked, promotion::after_write));
}

TEST_F(sift_account_test, has_it_in_numbers) {
  fill();
  touch(2);
  const auto counts = policy_.account_of_uncached(asked).counts;
  EXPECT_THAT(counts, Contains(Pair("touches", 2)));
  EXPECT_THAT(counts, Contains(Pair("touches_for_read", 1)));
  EXPECT_THAT(counts, Contains(Pair("touches_for_write", 3)));
  EXPECT_THAT(counts, Contains(Pair("cache_blocks_free", 2)));
}

TEST_F(sift_account_test, says_that_a_scan_is_going_on) {
  fill();
  for (std::uint64_t block = 10000; block < 20000; ++block) {
    policy_.miss(origin_block{block}, promotion::none);
  }
  EXPECT_THAT(text(), HasSubstr("A read promotes it at touch 2"));
  EXPECT_THAT(text(), HasSubstr("as in a scan"));
}

TEST_F(sift_account_test, says_that_nothing_is_free) {
  fill(nr_cache_blocks);
  EXPECT_THAT(text(), HasSubstr("But no cache block is free at the moment"));
}

TEST_F(sift_account_test, says_that_the_budget_is_used_up) {
  fill(nr_cache_blocks - 4);
  ASSERT_THAT(policy_.set("fill_budget", "0.0001"), succeeds());
  EXPECT_THAT(text(), HasSubstr("not many promotions left"));
  for (std::uint64_t block = 10000; block < 10002; ++block) {
    for (unsigned i = 0; i < 31; ++i) {
      policy_.miss(origin_block{block}, promotion::by_copy);
    }
  }
  EXPECT_THAT(text(), HasSubstr("But fill_budget is used up"));
}

TEST_F(sift_account_test, counts_the_hits_of_what_is_cached) {
  fill();
  policy_.hit(cache_block{3});
  EXPECT_THAT(policy_.account_of_cached(cache_block{3}).counts, Contains(Pair("hits", 1)));
  EXPECT_THAT(policy_.account_of_cached(cache_block{3}).text, HasSubstr("hit 1 time of late"));
  for (int i = 0; i < 5; ++i) {
    policy_.hit(cache_block{3});
  }
  EXPECT_THAT(policy_.account_of_cached(cache_block{3}).text, HasSubstr("hit 3 or more times"));
}

} // namespace
} // namespace dmcache
