#include "caching/metadata/clean_sample.h"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/memory_device.h"
#include "base/testing/faulty_device.h"
#include "base/testing/matchers.h"

namespace dmcache {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t nr_blocks = 256;
constexpr bytes block_size{32768};

class clean_sample_test : public testing::Test {
 protected:
  clean_sample_test() {
    for (std::uint64_t i = 0; i < nr_blocks; ++i) {
      fill(fast, i, std::byte(i % 255 + 1));
      fill(origin, i, std::byte(i % 255 + 1));
    }
  }
  static void fill(memory_device &on, std::uint64_t block, std::byte with) {
    std::ranges::fill(on.contents().subspan(block * block_size.value(), block_size.value()), with);
  }
  static std::vector<clean_block> all() {
    return sample_of(nr_blocks,
                     [](cache_block block) { return std::optional{origin_block{block.value()}}; });
  }
  result<> check() {
    return check_sample({.fast = fast, .origin = origin, .block_size = block_size}, all());
  }

  memory_device fast{bytes{nr_blocks * block_size.value()}};
  memory_device origin{bytes{nr_blocks * block_size.value()}};
};

TEST_F(clean_sample_test, is_spread_over_the_cache) {
  const auto sample = all();
  ASSERT_EQ(sample.size(), max_clean_sample);
  EXPECT_EQ(sample.front().cached_in, cache_block{0});
  EXPECT_GT(sample.back().cached_in, cache_block{nr_blocks - 8});
}

TEST_F(clean_sample_test, takes_what_there_is) {
  const auto sample = sample_of(nr_blocks, [](cache_block block) {
    return block.value() % 100 == 7 ? std::optional{origin_block{1}} : std::nullopt;
  });
  ASSERT_EQ(sample.size(), 3U);
  EXPECT_EQ(sample[2].cached_in, cache_block{207});
  EXPECT_TRUE(
      sample_of(nr_blocks, [](cache_block) { return std::optional<origin_block>{}; }).empty());
  EXPECT_THAT(check_sample({.fast = fast, .origin = origin, .block_size = block_size}, {}),
              succeeds());
}

TEST_F(clean_sample_test, the_right_devices_pass) {
  EXPECT_THAT(check(), succeeds());
}

TEST_F(clean_sample_test, one_block_that_was_written_to_is_told) {
  fill(origin, all()[5].origin.value(), std::byte{0});
  EXPECT_THAT(check(), succeeds()); // discarded, perhaps
  fill(origin, all()[6].origin.value(), std::byte{255});
  fill(fast, all()[6].cached_in.value(), std::byte{254});
  EXPECT_THAT(check(), fails_with(failure::failed,
                                  HasSubstr("2 of 64 blocks that are clean in the cache differ")));
}

TEST_F(clean_sample_test, an_empty_origin_is_told) {
  std::ranges::fill(origin.contents(), std::byte{});
  EXPECT_THAT(check(), fails_with(failure::failed, HasSubstr("64 of 64")));
}

TEST_F(clean_sample_test, a_device_that_fails_is_told) {
  faulty_device bad{origin};
  bad.fail_reads({}, origin.size());
  EXPECT_THAT(check_sample({.fast = fast, .origin = bad, .block_size = block_size}, all()),
              fails_with(failure::environment, HasSubstr("the origin can't be read")));
}

} // namespace
} // namespace dmcache
