#include "base/keyed_hash.h"

#include <algorithm>
#include <array>
#include <bit>
#include <vector>

#include <gtest/gtest.h>

#include "base/chance.h"

namespace dmcache {
namespace {

TEST(keyed_hash_test, is_the_same_all_over_the_process) {
  EXPECT_EQ(keyed_hash{}(17), keyed_hash{}(17));
  EXPECT_NE(keyed_hash{}(17), keyed_hash{}(18));
}

TEST(keyed_hash_test, is_another_one_with_another_key) {
  EXPECT_NE((keyed_hash{1, 3}(17)), (keyed_hash{2, 3}(17)));
  EXPECT_NE((keyed_hash{1, 3}(17)), (keyed_hash{1, 5}(17)));
}

TEST(keyed_hash_test, each_bit_of_the_number_changes_half_of_the_hash) {
  constexpr int samples = 4000;
  chance any{1};
  const keyed_hash hash{any(), any()};
  for (int bit = 0; bit < 64; ++bit) {
    std::array<int, 64> flips{};
    for (int i = 0; i < samples; ++i) {
      const std::uint64_t number = any();
      std::uint64_t changed = hash(number) ^ hash(number ^ std::uint64_t{1} << bit);
      for (; changed != 0; changed &= changed - 1) {
        ++flips.at(static_cast<std::size_t>(std::countr_zero(changed)));
      }
    }
    const auto [least, most] = std::ranges::minmax(flips);
    EXPECT_GT(least, samples * 9 / 20) << "bit " << bit;
    EXPECT_LT(most, samples * 11 / 20) << "bit " << bit;
  }
}

} // namespace
} // namespace dmcache
