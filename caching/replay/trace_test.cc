#include "caching/replay/trace.h"

#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dmcache {
namespace {

using testing::ElementsAre;
using testing::Pair;

constexpr bytes cut_at{32768};

trace_request reading(std::uint64_t start, std::uint64_t length) {
  return {0, false, sectors{start}, bytes{length}};
}

TEST(trace, a_request_is_cut_at_the_boundaries_of_blocks) {
  std::vector<std::pair<origin_block, bytes>> found;
  const auto take = [&](origin_block block, bytes length) { found.emplace_back(block, length); };
  for_each_block(reading(63, 33792), cut_at, take); // half a KiB, 32 KiB, half a KiB
  EXPECT_THAT(found,
              ElementsAre(Pair(origin_block{0}, bytes{512}), Pair(origin_block{1}, bytes{32768}),
                          Pair(origin_block{2}, bytes{512})));
  for_each_block(reading(64, 0), cut_at, take);
  EXPECT_EQ(found.size(), 3);
}

TEST(trace, a_block_that_is_touched_twice_is_one) {
  const std::vector<trace_request> requests{reading(640, 512), reading(0, 65536), reading(64, 4096),
                                            reading(0, 32768), reading(6400, 0)};
  const footprint found = measure(requests, cut_at);
  EXPECT_EQ(found.nr_touched, 3);
  EXPECT_EQ(found.nr_origin_blocks, 11);
  EXPECT_EQ(found.nr_accesses, 5);
}

TEST(trace, nothing_has_no_footprint) {
  const footprint found = measure({}, cut_at);
  EXPECT_EQ(found.nr_touched + found.nr_origin_blocks + found.nr_accesses, 0);
}

TEST(trace, the_largest_requests_are_measured_without_memory_for_each_block) {
  const std::vector<trace_request> requests(1000, reading(max_trace_sector, max_trace_length));
  const footprint found = measure(requests, cut_at);
  EXPECT_EQ(found.nr_touched, max_trace_length / cut_at.value());
  EXPECT_EQ(found.nr_accesses, 1000 * found.nr_touched);
}

} // namespace
} // namespace dmcache
