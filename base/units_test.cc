#include "base/units.h"

#include <type_traits>

#include <gtest/gtest.h>

namespace dmcache {
namespace {

static_assert(!std::is_convertible_v<cache_block, origin_block>);
static_assert(!std::is_constructible_v<cache_block, origin_block>);
static_assert(!std::is_convertible_v<std::uint64_t, bytes>);
static_assert(!std::is_convertible_v<sectors, bytes>);

TEST(units, a_sector_has_512_bytes) {
  EXPECT_EQ(to_bytes(sectors{3}), bytes{1536});
}

TEST(units, print_as_their_number) {
  EXPECT_EQ(fmt::format("{}", metadata_block{42}), "42");
}

} // namespace
} // namespace dmcache
