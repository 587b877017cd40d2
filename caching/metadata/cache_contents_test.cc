#include "caching/metadata/cache_contents.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/memory_device.h"
#include "base/testing/matchers.h"
#include "caching/metadata/testing/described_cache.h"
#include "caching/metadata/testing/stored_metadata.h"

namespace dmcache {
namespace {

class cache_contents_test : public testing::Test {
 protected:
  superblock block_ = described_cache(2, 1200); // three array blocks of mappings
  memory_device on_{bytes{64 * metadata_block_size}};
  progress quiet_{true};
};

TEST_F(cache_contents_test, takes_as_many_blocks_as_it_says) {
  for (const std::uint32_t hint_size : {0U, 4U}) {
    for (const std::uint64_t nr_discard_blocks : {0U, 100000U}) {
      block_.policy_hint_size = hint_size;
      block_.discard_block_size = nr_discard_blocks == 0 ? 0 : 64;
      block_.discard_nr_blocks = nr_discard_blocks;
      cache_contents contents{block_};
      if (hint_size != 0) {
        EXPECT_FALSE(contents.add_hint(cache_block{1}, le32{7}));
      }
      const auto built = contents.build(on_, metadata_block{1});
      ASSERT_THAT(built, succeeds());
      EXPECT_EQ(built->space_map.nr_allocated,
                1 + cache_contents::blocks_needed(block_, on_.size()));
      EXPECT_EQ(stored_on(on_, *built).damage, "");
    }
  }
}

TEST_F(cache_contents_test, what_a_reader_hands_over_is_what_is_written) {
  block_.policy_hint_size = sizeof(le32);
  block_.discard_block_size = 64;
  block_.discard_nr_blocks = 6000;
  cache_contents contents{block_};
  contents.mappings(std::vector<mapping>{{cache_block{3}, origin_block{50}, true},
                                         {cache_block{1100}, origin_block{51}, false}});
  contents.hints(cache_block{1}, std::vector<le32>{le32{8}, le32{9}});
  contents.discards(5, 7);
  contents.discards(63, 130);
  EXPECT_EQ(contents.nr_mapped(), 2U);
  EXPECT_EQ(contents.origin_end(), 52U);
  EXPECT_EQ(contents.discard_end(), 130U);
  ASSERT_THAT(contents.write(on_, quiet_), succeeds());
  const stored_metadata stored = sound_on(on_);
  EXPECT_EQ(stored.mapped, (mapping_map{{3, {50, true}}, {1100, {51, false}}}));
  ASSERT_EQ(stored.hints.size(), block_.cache_blocks);
  EXPECT_EQ(std::vector(stored.hints.begin(), stored.hints.begin() + 4),
            (std::vector<std::uint32_t>{0, 8, 9, 0}));
  EXPECT_THAT(stored.discards, testing::ElementsAre(testing::Pair(5, 7), testing::Pair(63, 130)));
}

TEST_F(cache_contents_test, dropped_discards_leave_nothing_behind) {
  block_.discard_block_size = 64;
  block_.discard_nr_blocks = 6000;
  cache_contents contents{block_};
  EXPECT_FALSE(contents.add_discards(5, 7));
  contents.drop_discards();
  EXPECT_EQ(contents.discard_end(), 0U);
  EXPECT_EQ(contents.described().discard_nr_blocks, 0U);
  EXPECT_EQ(contents.described().discard_block_size, 0U);
  ASSERT_THAT(contents.write(on_, quiet_), succeeds());
  EXPECT_THAT(sound_on(on_).discards, testing::IsEmpty());
}

} // namespace
} // namespace dmcache
