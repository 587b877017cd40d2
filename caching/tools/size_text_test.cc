#include "caching/tools/size_text.h"

#include <gtest/gtest.h>

#include "base/testing/matchers.h"

namespace dmcache {
namespace {

TEST(size_text, a_bare_number_is_in_sectors) {
  EXPECT_EQ(parse_size("128").value(), bytes{65536});
}

TEST(size_text, small_letters_are_binary_and_capitals_decimal) {
  EXPECT_EQ(parse_size("64k").value(), bytes{65536});
  EXPECT_EQ(parse_size("64K").value(), bytes{64000});
  EXPECT_EQ(parse_size("3sector").value(), bytes{1536});
}

TEST(size_text, refuses_what_is_no_size) {
  for (const char *text : {"", "k", "-1", "1.5g", "12x", "64 k", "99999999999999999999"}) {
    EXPECT_THAT(parse_size(text), fails_with(failure::usage)) << text;
  }
}

TEST(size_text, refuses_what_overflows) {
  EXPECT_THAT(parse_size("16e"), fails_with(failure::usage, "'16e' is too large a size"));
  EXPECT_EQ(parse_size("15e").value(), bytes{std::uint64_t{15} << 60});
}

} // namespace
} // namespace dmcache
