#include "base/little_endian.h"

#include <gtest/gtest.h>

namespace dmcache {
namespace {

TEST(little_endian, stores_the_least_significant_byte_first) {
  const le32 field = 0x01020304U;
  const auto raw = std::bit_cast<std::array<unsigned char, 4>>(field);
  EXPECT_EQ(raw, (std::array<unsigned char, 4>{4, 3, 2, 1}));
}

TEST(little_endian, gives_back_what_was_stored) {
  const le64 field = 0xfedcba9876543210U;
  EXPECT_EQ(std::uint64_t{field}, 0xfedcba9876543210U);
}

} // namespace
} // namespace dmcache
