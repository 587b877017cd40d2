#include "caching/sizing/recency_order.h"

#include <algorithm>
#include <vector>

#include <gtest/gtest.h>

#include "base/chance.h"

namespace dmcache {
namespace {

TEST(recency_order_test, tells_how_many_are_newer) {
  recency_order order{4};
  for (const std::uint32_t each : {2U, 0U, 3U}) {
    order.push(each);
  }
  EXPECT_EQ(order.remove(2), 2);
  EXPECT_EQ(order.remove(3), 0);
  order.push(2);
  EXPECT_EQ(order.remove(0), 1);
}

// There are far more touches than places, and the row is closed up many times.
TEST(recency_order_test, says_the_same_as_a_list) {
  constexpr std::uint32_t capacity = 50;
  chance any{1};
  recency_order order{capacity};
  std::vector<std::uint32_t> list; // the oldest first
  for (int i = 0; i < 20000; ++i) {
    const auto number = static_cast<std::uint32_t>(any.below(capacity));
    const auto found = std::ranges::find(list, number);
    if (found != list.end()) {
      const auto nr_newer = static_cast<std::uint32_t>(list.end() - found - 1);
      ASSERT_EQ(order.remove(number), nr_newer) << "touch " << i;
      list.erase(found);
    }
    if (!any.one_in(4)) {
      order.push(number);
      list.push_back(number);
    }
  }
}

} // namespace
} // namespace dmcache
