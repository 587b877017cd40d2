#include "caching/tools/adaptive_depth.h"

#include <algorithm>
#include <functional>

#include <gtest/gtest.h>

namespace dmcache {
namespace {

constexpr std::uint64_t mib = std::uint64_t{1} << 20;

// MiB a second that a device transfers when so many transfers are under way.
using rates = std::function<double(std::size_t depth)>;

// Transfers so much, and returns how much of it was transferred at the depth.
std::uint64_t transfer(adaptive_depth &by, adaptive_depth::instant &now, std::uint64_t nr_mib,
                       const rates &rate, std::size_t depth) {
  std::uint64_t nr_there = 0;
  for (std::uint64_t i = 0; i < nr_mib; ++i) {
    nr_there += by.now() == depth ? 1U : 0U;
    now += std::chrono::nanoseconds{static_cast<std::int64_t>(1e9 / rate(by.now()))};
    by.ended(mib, now);
  }
  return nr_there;
}

double quicker_up_to_16(std::size_t depth) {
  return 100.0 * static_cast<double>(std::min<std::size_t>(depth, 16));
}

double slower_with_more(std::size_t depth) {
  return 1000.0 / (1.0 + 0.1 * static_cast<double>(depth));
}

TEST(adaptive_depth_test, an_array_is_asked_for_as_much_as_makes_it_quicker) {
  adaptive_depth depth{64};
  adaptive_depth::instant now{};
  transfer(depth, now, 400, quicker_up_to_16, 16);
  EXPECT_GT(transfer(depth, now, 10000, quicker_up_to_16, 16), 9500);
}

TEST(adaptive_depth_test, a_disk_that_becomes_slower_with_more_is_asked_for_one_at_a_time) {
  adaptive_depth depth{64};
  adaptive_depth::instant now{};
  transfer(depth, now, 5000, slower_with_more, 1);
  EXPECT_GT(transfer(depth, now, 10000, slower_with_more, 1), 9500);
}

TEST(adaptive_depth_test, little_difference_changes_nothing) {
  adaptive_depth depth{64};
  adaptive_depth::instant now{};
  const rates alike = [](std::size_t at) { return 500.0 + static_cast<double>(at % 7); };
  EXPECT_GT(transfer(depth, now, 10000, alike, 1), 9500);
}

TEST(adaptive_depth_test, a_device_that_changes_is_followed) {
  adaptive_depth depth{64};
  adaptive_depth::instant now{};
  transfer(depth, now, 5000, slower_with_more, 1);
  transfer(depth, now, 40000, quicker_up_to_16, 16);
  EXPECT_GT(transfer(depth, now, 10000, quicker_up_to_16, 16), 9500);
}

TEST(adaptive_depth_test, a_pause_is_no_fault_of_the_depth) {
  adaptive_depth depth{64};
  adaptive_depth::instant now{};
  for (int i = 0; i < 400; ++i) {
    transfer(depth, now, 97, quicker_up_to_16, 16);
    now += std::chrono::seconds{10};
    depth.resume();
  }
  EXPECT_EQ(depth.now(), 16);
}

TEST(adaptive_depth_test, there_is_never_more_than_allowed_nor_none) {
  for (std::size_t most = 1; most < 5; ++most) {
    adaptive_depth depth{most};
    adaptive_depth::instant now{};
    for (int i = 0; i < 20000; ++i) {
      ASSERT_GE(depth.now(), 1);
      ASSERT_LE(depth.now(), most);
      transfer(depth, now, 1, i < 10000 ? quicker_up_to_16 : slower_with_more, 1);
    }
  }
}

TEST(adaptive_depth_test, time_that_stands_still_is_waited_for) {
  adaptive_depth depth{64};
  for (int i = 0; i < 1000; ++i) {
    depth.ended(mib, {});
  }
  EXPECT_EQ(depth.now(), 1);
}

} // namespace
} // namespace dmcache
