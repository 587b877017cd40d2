#include "bin/control/advice_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/testing/matchers.h"

namespace dmcache {
namespace {

TEST(advice_json_test, comes_back_as_it_was) {
  const size_advice advice{.block_size = sectors{256},
                           .nr_blocks = 1000,
                           .seen = {123456.5, 7},
                           .missed = {12, 3},
                           .progress = 0.25,
                           .sizes = {{250, {.5, .25}, {.75, 1}}, {500, {.125, 0}, {.0625, 1}}},
                           .curve = {{1, 1}, {64000, .03125}}};
  const auto back = advice_from_json(to_json(advice));
  ASSERT_THAT(back, succeeds());
  EXPECT_EQ(back->block_size, sectors{256});
  EXPECT_EQ(back->nr_blocks, 1000);
  EXPECT_EQ(back->seen.reads, 123456.5);
  EXPECT_EQ(back->missed.writes, 3);
  EXPECT_EQ(back->progress, 0.25);
  ASSERT_EQ(back->sizes.size(), 2U);
  EXPECT_EQ(back->sizes[1].nr_blocks, 500);
  EXPECT_EQ(back->sizes[0].lru.writes, .25);
  EXPECT_EQ(back->sizes[1].sift.reads, .0625);
  ASSERT_EQ(back->curve.size(), 2U);
  EXPECT_EQ(back->curve[1].nr_blocks, 64000);
  EXPECT_EQ(back->curve[1].miss_ratio, .03125);
}

TEST(advice_json_test, something_else_is_refused) {
  for (const char *each : {"", "{}", "[1]", R"({"progress": "half"})"}) {
    EXPECT_THAT(advice_from_json(each), fails_with(failure::environment)) << each;
  }
}

} // namespace
} // namespace dmcache
