#include "caching/metadata/metadata_size.h"

#include <limits>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/testing/matchers.h"
#include "persistent-data/format.h"

namespace dmcache {
namespace {

TEST(metadata_size, agrees_with_thin_provisioning_tools) {
  EXPECT_EQ(estimate_metadata_size(10240, 4), sectors{8752});
  EXPECT_EQ(estimate_metadata_size(100, 16), sectors{8199});
  EXPECT_EQ(estimate_metadata_size(16384, 4), sectors{9088});
}

TEST(metadata_size, the_smallest_holds_all_of_a_full_cache_twice) {
  for (const std::uint64_t nr_blocks : {1UL, 2048UL, 1UL << 20}) {
    const std::uint64_t mappings = divided_up(nr_blocks * 8, metadata_block_size);
    const std::uint64_t hints = divided_up(nr_blocks * 4, metadata_block_size);
    const std::uint64_t size = smallest_metadata_size(nr_blocks).value();
    EXPECT_GT(size, 2 * (mappings + hints) * metadata_block_size) << nr_blocks;
    EXPECT_LT(size, to_bytes(estimate_metadata_size(nr_blocks, 4)).value()) << nr_blocks;
  }
}

TEST(metadata_size, never_exceeds_what_the_format_can_use) {
  EXPECT_EQ(estimate_metadata_size(std::numeric_limits<std::uint64_t>::max(), 0xffffffff),
            sectors{33292800});
}

TEST(metadata_size, counts_a_last_partial_block) {
  EXPECT_EQ(count_cache_blocks(bytes{65536 * 10 + 1}, bytes{65536}).value(), 11U);
}

TEST(metadata_size, refuses_block_sizes_that_the_kernel_refuses) {
  const bytes device{std::uint64_t{1} << 40};
  for (const std::uint64_t size : {0UL, 512UL, 32768UL - 512, 98304UL + 1, (1UL << 30) + 32768}) {
    EXPECT_THAT(count_cache_blocks(device, bytes{size}),
                fails_with(failure::usage, fmt::format("a block size of {} bytes is not a multiple "
                                                       "of 32 KiB from 32 KiB to 1 GiB",
                                                       size)));
  }
  EXPECT_THAT(count_cache_blocks(device, bytes{98304}), succeeds());
  EXPECT_THAT(count_cache_blocks(device, bytes{1UL << 30}), succeeds());
}

} // namespace
} // namespace dmcache
