#include "bin/control/advice_chart.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dmcache {
namespace {

using testing::ElementsAre;
using testing::Pair;

TEST(advice_chart_test, shows_hits_of_reads_and_writes_by_size) {
  const size_advice advice{.block_size = sectors{2048},
                           .nr_blocks = 100,
                           .seen = {300, 100},
                           .missed = {150, 50},
                           .progress = 1,
                           .sizes = {{50, {}, {.5, 1}}, {200, {}, {0, 1}}},
                           .curve = {{25, .75}, {400, .25}}};
  const chart drawn = chart_of(advice);
  EXPECT_TRUE(drawn.is_x_logarithmic);
  ASSERT_EQ(drawn.lines.size(), 3U);
  EXPECT_THAT(drawn.lines[0].points, ElementsAre(Pair(25, 25), Pair(400, 75)));
  EXPECT_THAT(drawn.lines[1].points, ElementsAre(Pair(50, 37.5), Pair(200, 75)));
  EXPECT_THAT(drawn.lines[2].points, ElementsAre(Pair(100, 0), Pair(100, 50)));
}

} // namespace
} // namespace dmcache
