#include "base/crc32c.h"

#include <array>
#include <string_view>

#include <gtest/gtest.h>

namespace dmcache {
namespace {

std::uint32_t of(std::string_view text) {
  return crc32c(std::as_bytes(std::span{text}));
}

// The published check value of CRC-32C is 0xe3069283 *with* the final inversion.
TEST(crc32c, is_castagnoli_without_the_final_inversion) {
  EXPECT_EQ(of("123456789"), ~0xe3069283U);
}

TEST(crc32c, of_nothing_is_the_initial_register) {
  EXPECT_EQ(of(""), 0xffffffffU);
}

// RFC 3720, B.4: 32 bytes of zeroes.
TEST(crc32c, of_zeroes) {
  std::array<std::byte, 32> zeroes{};
  EXPECT_EQ(crc32c(zeroes), ~0x8a9136aaU);
}

} // namespace
} // namespace dmcache
