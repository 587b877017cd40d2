#include "base/zeroes.h"

#include <array>

#include <gtest/gtest.h>

namespace dmcache {
namespace {

TEST(is_all_zero, is_told_of_nothing_and_of_zeroes) {
  const std::array<std::byte, 100> zeroes{};
  for (std::size_t size = 0; size <= zeroes.size(); ++size) {
    EXPECT_TRUE(is_all_zero(std::span{zeroes}.first(size))) << size;
  }
}

TEST(is_all_zero, is_not_told_of_one_other_byte_wherever_it_is) {
  for (std::size_t at = 0; at < 100; ++at) {
    std::array<std::byte, 100> data{};
    data[at] = std::byte{0x80};
    EXPECT_FALSE(is_all_zero(data)) << at;
    EXPECT_TRUE(is_all_zero(std::span{data}.first(at)));
    EXPECT_TRUE(is_all_zero(std::span{data}.subspan(at + 1)));
  }
}

} // namespace
} // namespace dmcache
