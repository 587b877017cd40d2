#include "caching/tools/cache_facts.h"

#include <gtest/gtest.h>

#include "base/testing/matchers.h"

namespace dmcache {
namespace {

class cache_facts_test : public testing::Test {
 protected:
  cache_facts_test() {
    block_.version = 2;
    block_.data_block_size = 128;
    block_.cache_blocks = 100;
    block_.policy_name = {'s', 'm', 'q'};
  }

  result<> agree_with(const cache_facts &known) const { return agree(known, block_, "this"); }

  static auto contradicts(const std::string &said) {
    return fails_with(failure::failed, fmt::format("this, and says {}: what was given contradicts "
                                                   "it",
                                                   said));
  }

  superblock block_{};
};

TEST_F(cache_facts_test, what_is_not_known_contradicts_nothing) {
  EXPECT_THAT(agree_with({}), succeeds());
}

TEST_F(cache_facts_test, all_that_is_known_can_agree) {
  EXPECT_THAT(agree_with({.data_block_size = 128,
                          .cache_blocks = 100,
                          .version = 2,
                          .policy = "smq",
                          .fast_size = sectors{100 * 128 + 127},
                          .origin_size = {}}),
              succeeds());
}

TEST_F(cache_facts_test, each_fact_can_contradict) {
  EXPECT_THAT(agree_with({.data_block_size = 256}), contradicts("a block size of 128 sectors"));
  EXPECT_THAT(agree_with({.cache_blocks = 101}), contradicts("100 cache blocks"));
  EXPECT_THAT(agree_with({.version = 1}), contradicts("metadata version 2"));
  EXPECT_THAT(agree_with({.policy = "cleaner"}), contradicts("policy 'smq'"));
  for (const std::uint64_t size : {100U * 128 - 1, 101U * 128}) {
    EXPECT_THAT(agree_with({.fast_size = sectors{size}}),
                fails_with(failure::failed, testing::HasSubstr("and the cache has 100: ")));
  }
}

TEST_F(cache_facts_test, the_origin_must_have_what_is_mapped) {
  const cache_facts known{.origin_size = sectors{10 * 128 + 1}};
  EXPECT_THAT(agree_on_mappings(known, 11, 128), succeeds());
  EXPECT_THAT(agree_on_mappings(known, 12, 128),
              fails_with(failure::failed, testing::HasSubstr("the origin has just 11 blocks")));
  EXPECT_THAT(agree_on_mappings({}, 12, 128), succeeds());
}

} // namespace
} // namespace dmcache
