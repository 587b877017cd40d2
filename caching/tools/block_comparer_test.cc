#include "caching/tools/block_comparer.h"

#include <algorithm>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/memory_device.h"
#include "base/testing/faulty_device.h"

namespace dmcache {
namespace {

using testing::ElementsAre;

constexpr std::uint64_t bytes_per_block = 32768;
constexpr std::uint64_t nr_blocks = 4;

// Cache block n holds origin block n; the last one ends beyond the origin's end.
class block_comparer_test : public testing::Test {
 protected:
  block_comparer_test() {
    for (std::uint64_t n = 0; n < nr_blocks; ++n) {
      blocks_.push_back({origin_block{n}, cache_block{n}});
    }
  }

  void compare() {
    const block_geometry geometry{.block_size = bytes{bytes_per_block},
                                  .origin_end = end_of(origin_),
                                  .fast_end = end_of(fast_)};
    block_comparer comparer{faulty_origin_, fast_, geometry, blocks_, std::uint64_t{1} << 20};
    progress quiet{true};
    comparer.run([] { return false; }, quiet);
    found_.assign(comparer.found().begin(), comparer.found().end());
    failures_.assign(comparer.failures().begin(), comparer.failures().end());
  }

  memory_device origin_{bytes{nr_blocks * bytes_per_block - 4096}};
  memory_device fast_{bytes{nr_blocks * bytes_per_block}};
  faulty_device faulty_origin_{origin_};
  std::vector<block_comparer::location> blocks_;
  std::vector<comparison> found_;
  std::vector<block_failure> failures_;
};

TEST_F(block_comparer_test, nothing_beyond_the_end_of_the_origin_is_compared) {
  std::ranges::fill(fast_.contents().last(4096), std::byte{1});
  compare();
  EXPECT_THAT(found_, testing::Each(comparison::equal));
  EXPECT_TRUE(failures_.empty());
}

TEST_F(block_comparer_test, the_last_byte_of_a_block_counts) {
  fast_.contents()[2 * bytes_per_block - 1] = std::byte{1};
  compare();
  EXPECT_THAT(found_, ElementsAre(comparison::equal, comparison::differs, comparison::equal,
                                  comparison::equal));
}

TEST_F(block_comparer_test, what_cannot_be_read_has_a_reason_and_costs_no_other_block) {
  faulty_origin_.fail_reads(bytes{2 * bytes_per_block}, bytes{3 * bytes_per_block});
  compare();
  EXPECT_THAT(found_, ElementsAre(comparison::equal, comparison::equal, comparison::unreadable,
                                  comparison::equal));
  ASSERT_EQ(failures_.size(), 1U);
  EXPECT_EQ(failures_[0].block, cache_block{2});
  EXPECT_EQ(failures_[0].failed, block_failure::step::reading_origin);
  EXPECT_EQ(failures_[0].at, bytes{2 * bytes_per_block});
  EXPECT_EQ(failures_[0].error, std::errc::io_error);
}

} // namespace
} // namespace dmcache
