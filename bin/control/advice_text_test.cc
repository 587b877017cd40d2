#include "bin/control/advice_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dmcache {
namespace {

using testing::EndsWith;
using testing::HasSubstr;

class advice_text_test : public testing::Test {
 protected:
  size_advice advice_{.block_size = sectors{128},
                      .nr_blocks = 4096,
                      .seen = {100000, 20000},
                      .missed = {40000, 15000},
                      .progress = 1,
                      .sizes = {{1024, {.8, 1}, {.9, 1}},
                                {2048, {.6, 1}, {.75, 1}},
                                {4096, {.4, 1}, {.5, 1}},
                                {8192, {.3, 1}, {.4, 1}},
                                {16384, {.1, 1}, {.2, 1}}},
                      .curve = {}};
};

TEST_F(advice_text_test, tells_what_was_seen_what_other_sizes_would_hit_and_what_follows) {
  EXPECT_EQ(
      readable_advice(advice_),
      "seen        100000 reads, 60.0 % hit; 20000 writes, 25.0 % hit\n"
      "Of the reads would hit, with the policies LRU and sift:\n"
      "a quarter       64 MiB  LRU  20.0 %, sift  10.0 %; +80 % reads of the origin\n"
      "half           128 MiB  LRU  40.0 %, sift  25.0 %; +50 % reads of the origin\n"
      "this cache     256 MiB  LRU  60.0 %, sift  50.0 %\n"
      "twice          512 MiB  LRU  70.0 %, sift  60.0 %; -20 % reads of the origin\n"
      "four times       1 GiB  LRU  90.0 %, sift  80.0 %; -60 % reads of the origin\n"
      "Twice the cache, 512 MiB, would save 20 % (LRU: 25 %) of the origin's reads; half of it, "
      "128 MiB, would cost 50 % (LRU: 50 %) more.\n");
}

TEST_F(advice_text_test, says_nothing_before_enough_was_seen) {
  advice_.progress = 0.999;
  EXPECT_EQ(
      readable_advice(advice_),
      "seen        100000 reads, 60.0 % hit; 20000 writes, 25.0 % hit\n"
      "Not enough seen yet: 99 % of what it takes to tell how large the cache should be. Ask again "
      "later.\n");
}

TEST_F(advice_text_test, a_cache_that_misses_nothing_can_not_save_anything) {
  for (auto &each : advice_.sizes) {
    each.lru.reads = each.sift.reads = 0;
  }
  EXPECT_THAT(readable_advice(advice_),
              HasSubstr("would save 0 % (LRU: 0 %) of the origin's reads"));
}

// Estimates are no exact numbers.
TEST_F(advice_text_test, a_larger_cache_is_not_said_to_cost_reads) {
  advice_.sizes[3].sift.reads = .51;
  EXPECT_THAT(readable_advice(advice_),
              HasSubstr("would save 0 % (LRU: 25 %) of the origin's reads"));
}

TEST_F(advice_text_test, without_reads_there_is_nothing_to_save) {
  advice_.seen.reads = 0;
  advice_.missed.reads = 0;
  EXPECT_THAT(readable_advice(advice_),
              EndsWith("Nothing was read, so no cache of another size would "
                       "spare the origin a read.\n"));
}

} // namespace
} // namespace dmcache
