#include "caching/metadata/mapping_search.h"

#include <cstddef>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "caching/metadata/testing/described_cache.h"
#include "caching/metadata/testing/state_image.h"

namespace dmcache {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

// The array blocks of four parts of the mappings, all of one size, whose tree has lost its root.
class mapping_search_test : public testing::Test {
 protected:
  static constexpr std::uint64_t per_part = array_max_entries(sizeof(le64));
  static constexpr std::uint64_t nr_parts = 4;
  static constexpr std::uint64_t nr_blocks = 64; // of the device
  static constexpr std::uint64_t nr_mapped = 10;
  static constexpr std::uint64_t old_leaf =
      40; // where there is room for leaves that are not in use

  mapping_search_test() {
    state_image::mapped origins = state_image::mapped_from(50, nr_mapped); // in the first part
    origins[per_part] = 90;
    const state_image::blocks made =
        state_.add(state_image::entries_of(origins, nr_parts * per_part));
    first_part_ = made.mappings;
    state_.image.block(made.mapping_root)[0] ^= std::byte{1};
    block_.mapping_root = made.mapping_root;
    block_.discard_root = made.discard_root;
    block_.space_map = {.nr_blocks = nr_blocks,
                        .nr_allocated = made.used.size(),
                        .bitmap_root = made.index,
                        .ref_count_root = made.ref_counts};
  }

  // An array block of a part that is not in use any more.
  void add_old_part(std::uint64_t where, const state_image::mapped &origins) {
    state_.image.add_array_block(where, state_image::entries_of(origins, per_part));
  }

  // Where that part stands.
  std::uint64_t block_of(std::uint64_t part) const { return first_part_ + part; }

  found_mappings search() {
    return search_mappings(state_.image.device, block_, state_.image.watcher);
  }

  state_image state_{nr_blocks};
  superblock block_ = described_cache(1, nr_parts *per_part);
  std::uint64_t first_part_ = 0;
};

TEST_F(mapping_search_test, nothing_tells_parts_of_one_size_apart) {
  EXPECT_THAT(search().in_force, IsEmpty());
}

TEST_F(mapping_search_test, an_earlier_version_of_a_lost_leaf_tells_the_parts) {
  state_.image.add_leaf(old_leaf, {{0, block_of(0)}, {1, block_of(1)}});
  const found_mappings found = search();
  EXPECT_THAT(found.in_force, ElementsAre(Pair(0, block_of(0)), Pair(1, block_of(1))));
  EXPECT_EQ(found.nr_found, 2U);
}

TEST_F(mapping_search_test, it_does_not_where_one_that_is_half_as_near_says_otherwise) {
  state_.image.add_leaf(old_leaf, {{0, block_of(0)}, {1, block_of(1)}});
  state_.image.add_leaf(old_leaf + 1, {{2, block_of(0)}});
  EXPECT_THAT(search().in_force, ElementsAre(Pair(1, block_of(1))));
}

TEST_F(mapping_search_test, one_that_is_much_further_off_is_not_heard) {
  state_.image.add_leaf(old_leaf,
                        {{0, block_of(0)}, {1, block_of(1)}, {2, block_of(2)}, {3, block_of(3)}});
  state_.image.add_leaf(old_leaf + 1, {{2, block_of(0)}, {3, old_leaf}});
  EXPECT_THAT(search().in_force, ElementsAre(Pair(0, block_of(0)), Pair(1, block_of(1)),
                                             Pair(2, block_of(2)), Pair(3, block_of(3))));
}

TEST_F(mapping_search_test, a_block_is_the_part_whose_earlier_version_it_resembles) {
  state_image::mapped earlier = state_image::mapped_from(50, nr_mapped);
  earlier[nr_mapped - 1] = 99;
  add_old_part(old_leaf + 1, earlier);
  state_.image.add_leaf(old_leaf, {{0, old_leaf + 1}});
  const found_mappings found = search();
  EXPECT_THAT(found.in_force, ElementsAre(Pair(0, block_of(0))));
  EXPECT_EQ(found.nr_found, 1U);
}

TEST_F(mapping_search_test, an_array_block_of_another_size_of_values_is_no_part) {
  const std::uint64_t other = block_of(1);
  state_.image.set(other, offsetof(array_block_header, value_size), le32{sizeof(le32)});
  state_.image.set(other, offsetof(array_block_header, nr_entries),
                   le32{array_max_entries(sizeof(le32))}); // more than of this size would fit
  state_.image.seal_block(array_block_type, other);
  EXPECT_THAT(search().in_force, IsEmpty());
}

TEST_F(mapping_search_test, it_does_not_resemble_one_of_which_less_than_half_is_left) {
  state_image::mapped earlier = state_image::mapped_from(50, nr_mapped);
  for (std::uint64_t i = nr_mapped; i < 2 * nr_mapped + 1; ++i) {
    earlier[i] = 100 + i;
  }
  add_old_part(old_leaf + 1, earlier);
  state_.image.add_leaf(old_leaf, {{0, old_leaf + 1}});
  const found_mappings found = search();
  EXPECT_THAT(found.in_force, IsEmpty());
  EXPECT_THAT(found.older, ElementsAre(Pair(0, old_leaf + 1)));
}

TEST_F(mapping_search_test, a_block_that_resembles_two_parts_is_neither) {
  add_old_part(old_leaf + 1, state_image::mapped_from(50, nr_mapped));
  add_old_part(old_leaf + 2, state_image::mapped_from(50, nr_mapped - 1));
  state_.image.add_leaf(old_leaf, {{0, old_leaf + 1}, {1, old_leaf + 2}});
  EXPECT_THAT(search().in_force, IsEmpty());
}

} // namespace
} // namespace dmcache
