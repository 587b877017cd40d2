#include "persistent-data/btree_walk.h"

#include <gtest/gtest.h>

#include "base/testing/faulty_device.h"
#include "persistent-data/testing/image_builder.h"

namespace dmcache {
namespace {

// Root 1 above leaves 2 (keys 0, 1), 3 (10, 11) and 4 (20, 21); the value of a key k is 100 + k.
class btree_walk_test : public testing::Test {
 protected:
  btree_walk_test() : image_{16} {
    image_.add_internal(1, {{0, 2}, {10, 3}, {20, 4}});
    image_.add_leaf(2, {{0, 100}, {1, 101}});
    image_.add_leaf(3, {{10, 110}, {11, 111}});
    image_.add_leaf(4, {{20, 120}, {21, 121}});
  }

  std::vector<std::uint64_t> keys(std::uint64_t limit = 1000) {
    const walk_context context = image_.context();
    const btree_contents tree = walk_btree(context, {.root = metadata_block{1},
                                                     .value_size = 8,
                                                     .key_limit = limit,
                                                     .kind = {structure::mappings, true},
                                                     .lost_limit = 1000});
    std::vector<std::uint64_t> found;
    for (const auto &entry : tree.entries) {
      EXPECT_EQ(entry.value, 100 + entry.key);
      found.push_back(entry.key);
    }
    return found;
  }

  // All but the keys of leaf 3 are found, and `text` is told.
  void expect_leaf_3_lost(const std::string &text) {
    EXPECT_EQ(keys(), (std::vector<std::uint64_t>{0, 1, 20, 21}));
    ASSERT_EQ(image_.sink.all.size(), 1U);
    EXPECT_EQ(image_.sink.text(), text + "\n");
    EXPECT_EQ(image_.sink.all[0].lost, (key_range{10, 20}));
    EXPECT_FALSE(image_.usage.is_complete());
  }

  image_builder image_;
};

TEST_F(btree_walk_test, finds_all_entries_of_a_sound_tree) {
  EXPECT_EQ(keys(), (std::vector<std::uint64_t>{0, 1, 10, 11, 20, 21}));
  EXPECT_EQ(image_.sink.text(), "");
  EXPECT_TRUE(image_.usage.is_complete());
  for (std::uint64_t block = 0; block < 16; ++block) {
    EXPECT_EQ(image_.usage.is_used(block), block >= 1 && block <= 4) << block;
  }
}

TEST_F(btree_walk_test, a_leaf_is_read_whole_whatever_leads_to_it) {
  using entries = std::vector<std::pair<std::uint64_t, std::uint64_t>>;
  EXPECT_EQ(read_leaf(metadata_block{3}, image_.block(3)), (entries{{10, 110}, {11, 111}}));
  EXPECT_EQ(read_leaf(metadata_block{1}, image_.block(1)), entries{}); // an inner node
  EXPECT_EQ(read_leaf(metadata_block{4}, image_.block(3)), entries{}); // not read from there
}

TEST_F(btree_walk_test, an_empty_tree_is_a_leaf_without_entries) {
  image_.add_leaf(1, {});
  EXPECT_TRUE(keys().empty());
  EXPECT_EQ(image_.sink.text(), "");
}

TEST_F(btree_walk_test, a_bad_checksum_loses_the_range_of_the_node) {
  image_.block(3)[40] ^= std::byte{1};
  expect_leaf_3_lost("block 3: bad checksum (1 -> 3)");
}

TEST_F(btree_walk_test, keys_ascend) {
  image_.add_leaf(3, {{11, 111}, {10, 110}});
  expect_leaf_3_lost("block 3: keys out of order: 10 after 11 (1 -> 3)");
}

TEST_F(btree_walk_test, keys_stay_in_the_range_that_the_parent_gives) {
  image_.add_leaf(3, {{10, 110}, {20, 120}});
  expect_leaf_3_lost("block 3: key 20 is outside of its parent's range, 10-19 (1 -> 3)");
}

TEST_F(btree_walk_test, a_node_that_is_its_own_ancestor_is_damage) {
  image_.add_internal(1, {{0, 2}, {10, 1}, {20, 4}});
  expect_leaf_3_lost("block 1: points to block 1, which is in use already (mappings) (1)");
}

TEST_F(btree_walk_test, a_block_used_twice_is_damage) {
  image_.add_internal(1, {{0, 2}, {10, 2}, {20, 4}});
  expect_leaf_3_lost("block 1: points to block 2, which is in use already (mappings) (1)");
}

TEST_F(btree_walk_test, a_child_beyond_the_device_is_damage) {
  image_.add_internal(1, {{0, 2}, {10, 16}, {20, 4}});
  expect_leaf_3_lost("block 1: points to block 16, beyond the device's 16 blocks (1)");
}

TEST_F(btree_walk_test, leaves_stand_at_one_depth) {
  image_.add_internal(3, {{10, 5}});
  image_.add_leaf(5, {{10, 110}});
  expect_leaf_3_lost("block 3: leaf and internal nodes at the same depth (1 -> 3)");
}

TEST_F(btree_walk_test, counts_are_not_believed) {
  image_.set<le32>(3, offsetof(btree_node_header, nr_entries), 253U);
  image_.seal_block(btree_node_type, 3);
  expect_leaf_3_lost("block 3: 253 entries where 252 is the most (1 -> 3)");
}

TEST_F(btree_walk_test, sizes_are_not_believed) {
  image_.set<le32>(3, offsetof(btree_node_header, value_size), 0U);
  image_.seal_block(btree_node_type, 3);
  expect_leaf_3_lost("block 3: value size 0 where 8 is expected (1 -> 3)");
}

TEST_F(btree_walk_test, only_a_root_is_empty) {
  image_.add_leaf(3, {});
  expect_leaf_3_lost("block 3: node without entries (1 -> 3)");
}

TEST_F(btree_walk_test, keys_beyond_the_limit_are_told_and_left_out) {
  EXPECT_EQ(keys(21), (std::vector<std::uint64_t>{0, 1, 10, 11, 20}));
  EXPECT_EQ(image_.sink.text(), "block 4: entries from 21 on, where 20 is the last (1 -> 4)\n");
}

TEST_F(btree_walk_test, a_block_that_cannot_be_read_is_told_as_such) {
  faulty_device faulty{image_.device};
  faulty.fail_reads(offset_of(metadata_block{3}), offset_of(metadata_block{4}));
  const walk_context context{faulty, image_.usage, image_.sink, image_.watcher};
  walk_btree(context, {.root = metadata_block{1},
                       .value_size = 8,
                       .key_limit = 1000,
                       .kind = {structure::mappings, true},
                       .lost_limit = 1000});
  ASSERT_EQ(image_.sink.all.size(), 1U);
  EXPECT_TRUE(image_.sink.all[0].io_error);
  EXPECT_EQ(image_.sink.all[0].block, metadata_block{3});
}

} // namespace
} // namespace dmcache
