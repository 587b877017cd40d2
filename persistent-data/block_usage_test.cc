#include "persistent-data/block_usage.h"

#include <gtest/gtest.h>

namespace dmcache {
namespace {

class block_usage_test : public testing::Test {
 protected:
  void use(std::uint64_t block) { usage_.claim(metadata_block{block}, structure::mappings); }

  block_usage usage_{bytes{10 * metadata_block_size}};
};

TEST_F(block_usage_test, unused_blocks_may_be_the_first_or_the_last_ones) {
  EXPECT_EQ(usage_.find_unused(10, 10), metadata_block{0});
  use(0);
  EXPECT_EQ(usage_.find_unused(10, 9), metadata_block{1});
  EXPECT_EQ(usage_.find_unused(10, 10), std::nullopt);
}

TEST_F(block_usage_test, unused_blocks_follow_one_another_below_the_limit) {
  use(2);
  use(5);
  EXPECT_EQ(usage_.find_unused(10, 2), metadata_block{0});
  EXPECT_EQ(usage_.find_unused(10, 3), metadata_block{6});
  EXPECT_EQ(usage_.find_unused(9, 3), metadata_block{6});
  EXPECT_EQ(usage_.find_unused(8, 3), std::nullopt);
  EXPECT_EQ(usage_.find_unused(100, 5), std::nullopt); // of which there are but 10
}

} // namespace
} // namespace dmcache
