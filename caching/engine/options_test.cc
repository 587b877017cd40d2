#include "caching/engine/options.h"

#include <gtest/gtest.h>

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

} // namespace
} // namespace dmcache
