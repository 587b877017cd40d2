#include "persistent-data/space_map_check.h"

#include <gtest/gtest.h>

#include "persistent-data/testing/image_builder.h"

namespace dmcache {
namespace {

constexpr std::uint64_t index_block = 1;
constexpr std::uint64_t bitmap_block = 2;
constexpr std::uint64_t ref_count_root = 3;
constexpr std::uint64_t superblock = 0; // the only other block in use

class space_map_check_test : public testing::Test {
 protected:
  static constexpr std::uint64_t nr_blocks = 16;

  space_map_check_test() : image_{nr_blocks} {
    for (const std::uint64_t used : {superblock, index_block, bitmap_block, ref_count_root}) {
      set_count(used, 1);
    }
    index(12, 4);
    image_.add_leaf(ref_count_root, {}, 4);
    image_.usage.claim(metadata_block{superblock}, structure::superblock);
  }

  void set_count(std::uint64_t block, std::uint32_t count) {
    auto bits = std::to_integer<std::uint32_t>(image_.block(bitmap_block)[16 + block / 4]);
    const auto shift = block % 4 * 2;
    bits &= ~(3U << shift);
    bits |= ((count >> 1) | (count & 1) << 1) << shift;
    image_.block(bitmap_block)[16 + block / 4] = static_cast<std::byte>(bits);
    image_.seal_block(space_map_bitmap_type, bitmap_block);
  }

  void index(std::uint32_t nr_free, std::uint32_t none_free_before) {
    image_.set(index_block, 16, space_map_index_entry{bitmap_block, nr_free, none_free_before});
    image_.seal_block(space_map_index_type, index_block);
  }

  // What is told, and whether any of it is fatal.
  void expect(const std::string &text, bool fatal = false) {
    check_space_map(image_.context(), root_);
    EXPECT_EQ(image_.sink.text(), text);
    for (const damage &each : image_.sink.all) {
      EXPECT_EQ(each.fatal, fatal);
    }
  }

  image_builder image_;
  space_map_root root_{nr_blocks, 4, index_block, ref_count_root};
};

TEST_F(space_map_check_test, a_sound_one_is_sound) {
  expect("");
}

TEST_F(space_map_check_test, free_entries_beyond_the_device_may_be_counted) {
  index(12 + 16320 - 16, 4);
  expect("");
}

TEST_F(space_map_check_test, none_free_before_may_lag_behind) {
  index(12, 0);
  expect("");
}

TEST_F(space_map_check_test, a_leak_wastes_space) {
  set_count(7, 1);
  set_count(8, 1);
  index(10, 4);
  root_.nr_allocated = 6;
  expect("block 2: the space map counts 1 uses of blocks 7-8, but there are none: leaked\n");
}

TEST_F(space_map_check_test, leaks_are_not_told_if_more_may_be_in_use) {
  set_count(7, 1);
  index(11, 4);
  root_.nr_allocated = 5;
  image_.usage.forget_completeness();
  expect("");
}

TEST_F(space_map_check_test, a_used_block_that_counts_as_free_is_fatal) {
  set_count(bitmap_block, 0);
  index(13, 2);
  root_.nr_allocated = 3;
  expect("block 2: the space map counts block 2 as free, but it is in use\n", true);
}

TEST_F(space_map_check_test, large_counts_stand_in_the_tree) {
  set_count(superblock, 3);
  image_.add_leaf(ref_count_root, {{superblock, 7}}, 4);
  expect("block 2: the space map counts 7 uses of block 0, but there is one\n");
}

TEST_F(space_map_check_test, an_entry_of_the_tree_that_no_bitmap_sends_to_is_stale) {
  image_.add_leaf(ref_count_root, {{superblock, 7}}, 4);
  expect(
      "block 3: the reference count tree has an entry for block 0, which its bitmap doesn't send "
      "there\n");
}

TEST_F(space_map_check_test, derived_fields_follow_the_counts) {
  index(11, 5);
  root_.nr_allocated = 9;
  expect("block 1: the space map's index says that 11 blocks of bitmap 2 are free, but 12 are\n"
         "block 1: the space map's index says that none is free before entry 5 of bitmap 2, but "
         "entry 4 is\n"
         "block 0: the space map's root says that 9 blocks are allocated, but 4 are\n");
}

TEST_F(space_map_check_test, a_truncated_device_is_fatal) {
  root_.nr_blocks = 17;
  expect("block 0: the space map covers 17 blocks, but the device has 16: is it truncated?\n",
         true);
}

TEST_F(space_map_check_test, a_used_block_that_is_not_covered_is_fatal) {
  root_.nr_blocks = 15;
  index(11, 4);
  image_.usage.claim(metadata_block{15}, structure::mappings);
  expect("block 0: block 15 is in use, but beyond the 15 that the space map covers\n", true);
}

TEST_F(space_map_check_test, a_bad_bitmap_is_told) {
  image_.block(bitmap_block)[50] ^= std::byte{1};
  expect("block 2: bad checksum\n", true);
  EXPECT_FALSE(image_.usage.is_complete());
}

TEST_F(space_map_check_test, a_bad_index_is_told) {
  image_.block(index_block)[50] ^= std::byte{1};
  expect("block 1: bad checksum\n", true);
}

} // namespace
} // namespace dmcache
