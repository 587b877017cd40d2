#include "persistent-data/block_survey.h"

#include <cstddef>

#include <gtest/gtest.h>

#include "persistent-data/testing/image_builder.h"

namespace dmcache {
namespace {

// A memory device that knows of a hole.
class device_with_hole final : public device {
 public:
  static constexpr std::uint64_t hole_begin = 10; // in blocks
  static constexpr std::uint64_t hole_end = 1000;
  static constexpr std::uint64_t nr_blocks = 1010;

  explicit device_with_hole(device &whole) : whole_{whole} {}

  bytes size() const override { return whole_.size(); }
  bytes next_data(bytes offset) const override {
    const std::uint64_t block = offset.value() / metadata_block_size;
    return block >= hole_begin && block < hole_end ? offset_of(metadata_block{hole_end}) : offset;
  }
  void submit(std::span<const io_request> requests) override { whole_.submit(requests); }
  void wait() override { whole_.wait(); }
  std::error_code flush() override { return whole_.flush(); }

 private:
  device &whole_;
};

class block_survey_test : public testing::Test {
 protected:
  static constexpr std::uint64_t hole_begin = device_with_hole::hole_begin;
  static constexpr std::uint64_t hole_end = device_with_hole::hole_end;
  static constexpr std::uint64_t nr_blocks = device_with_hole::nr_blocks;

  image_builder image_{nr_blocks};
  device_with_hole on_{image_.device};
};

TEST_F(block_survey_test, leaves_out_a_long_hole_and_nothing_else) {
  std::vector<bool> is_wanted(nr_blocks);
  for (const metadata_block each : blocks_outside_holes(on_)) {
    EXPECT_FALSE(is_wanted.at(each.value())) << each.value();
    is_wanted[each.value()] = true;
  }
  for (std::uint64_t block = 0; block < nr_blocks; ++block) {
    EXPECT_TRUE(is_wanted[block] || (block >= hole_begin && block < hole_end)) << block;
  }
  EXPECT_FALSE(is_wanted[hole_end - 1]);
}

TEST_F(block_survey_test, believes_in_no_more_entries_than_fit) {
  const auto survey_with = [&](std::uint32_t nr_entries) {
    image_.add_array_block(0, {1, 2, 3});
    image_.set(0, offsetof(array_block_header, nr_entries), le32{nr_entries});
    image_.seal_block(array_block_type, 0);
    return survey_blocks(on_, image_.watcher)[0];
  };
  constexpr std::uint32_t most = array_max_entries(sizeof(le64));
  EXPECT_EQ(survey_with(most).nr_entries, most);
  for (const std::uint32_t too_many : {most + 1, 65536U + 3}) {
    const surveyed_block found = survey_with(too_many);
    EXPECT_EQ(found.kind, block_kind::array_block);
    EXPECT_EQ(found.value_size, 0);
    EXPECT_EQ(found.nr_entries, 0);
  }
}

TEST_F(block_survey_test, tells_blocks_by_what_they_hold) {
  image_.add_internal(hole_begin - 1, {{0, hole_end}, {7, hole_end + 1}});
  image_.add_leaf(hole_end, {{0, 1}}, sizeof(le32));
  image_.add_array_block(nr_blocks - 1, {1, 2, 3});
  image_.add_array_block(nr_blocks - 2, {1});
  image_.block(nr_blocks - 2)[100] ^= std::byte{1};
  const block_survey survey = survey_blocks(on_, image_.watcher);
  ASSERT_EQ(survey.size(), nr_blocks);
  const auto expect = [&](std::uint64_t block, block_kind kind, std::size_t value_size,
                          std::size_t nr_entries) {
    EXPECT_EQ(survey[block].kind, kind) << block;
    EXPECT_EQ(survey[block].value_size, value_size) << block;
    EXPECT_EQ(survey[block].nr_entries, nr_entries) << block;
  };
  expect(0, block_kind::unknown, 0, 0);
  expect(hole_begin - 1, block_kind::internal_node, 8, 2);
  expect(hole_end, block_kind::leaf_node, 4, 1);
  expect(nr_blocks - 1, block_kind::array_block, 8, 3);
  expect(nr_blocks - 2, block_kind::unknown, 0, 0);
}

} // namespace
} // namespace dmcache
