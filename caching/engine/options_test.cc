#include "caching/engine/options.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/testing/matchers.h"

namespace dmcache {
namespace {

constexpr std::uint64_t gib = std::uint64_t{1} << 21; // in sectors

TEST(options_test, blocks_of_64_kib_are_usual_as_long_as_there_are_not_too_many) {
  for (const std::uint64_t size : {std::uint64_t{0}, std::uint64_t{1}, gib, 256 * gib}) {
    EXPECT_EQ(usual_block_size(sectors{size}), sectors{128}) << size;
  }
}

TEST(options_test, larger_fast_devices_have_larger_blocks) {
  EXPECT_EQ(usual_block_size(sectors{256 * gib + 1}), sectors{256});
  EXPECT_EQ(usual_block_size(sectors{512 * gib}), sectors{256});
  EXPECT_EQ(usual_block_size(sectors{1000 * gib}), sectors{512});
  EXPECT_EQ(usual_block_size(sectors{8 * 1024 * gib}), sectors{4096});
}

TEST(options_test, no_fast_device_has_larger_blocks_than_there_can_be) {
  EXPECT_EQ(usual_block_size(sectors{~std::uint64_t{0}}), sectors{2097152});
}

TEST(options_test, a_dirty_limit_is_no_more_than_the_whole_cache) {
  for (const std::string_view right : {"0%", "100%"}) {
    const auto limit = find_dirty_limit("--dirty-limit", right, bare_number::is_refused);
    ASSERT_THAT(limit, succeeds());
    EXPECT_EQ(text_of(*limit), right);
  }
  for (const std::string_view wrong : {"101%", "%", "-1%", "1.5%", "all%"}) {
    EXPECT_THAT(find_dirty_limit("--dirty-limit", wrong, bare_number::is_refused),
                fails_with(failure::usage,
                           fmt::format("--dirty-limit: '{}' is no share of the cache: 0% to 100% "
                                       "are",
                                       wrong)))
        << wrong;
  }
}

} // namespace
} // namespace dmcache
