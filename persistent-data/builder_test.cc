#include "persistent-data/builder.h"

#include <cstring>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/memory_device.h"
#include "base/testing/matchers.h"
#include "persistent-data/space_map_reader.h"

namespace dmcache {
namespace {

// Two bitmaps, of which the second is used in its first entry and the first one up to its last.
TEST(builder, a_space_map_goes_on_in_the_next_bitmap_where_one_ends) {
  memory_device on{bytes{16 * metadata_block_size}}; // as much of it as is written
  block_writer out{on, metadata_block{1}};
  const auto is_used = [](std::uint64_t block) {
    return block == 0 || block == blocks_per_bitmap - 1 || block == blocks_per_bitmap;
  };
  const space_map_root made = build_space_map(out, blocks_per_bitmap + 2, is_used);
  ASSERT_THAT(out.finish(), succeeds());
  EXPECT_EQ(made.nr_blocks, blocks_per_bitmap + 2);
  EXPECT_EQ(made.nr_allocated, 7U); // with two bitmaps, an index and a tree of its own, from 1 on

  space_map_index index;
  std::memcpy(&index, on.contents().data() + made.bitmap_root * metadata_block_size, sizeof index);
  EXPECT_EQ(index.entries[0].nr_free, blocks_per_bitmap - 6);
  EXPECT_EQ(index.entries[0].none_free_before, 5U);
  EXPECT_EQ(index.entries[1].nr_free, blocks_per_bitmap - 1);
  EXPECT_EQ(index.entries[1].none_free_before, 1U);

  const auto used = read_used_blocks(on, metadata_block{made.bitmap_root});
  ASSERT_TRUE(used);
  for (std::uint64_t block = 0; block < used->size(); ++block) {
    EXPECT_EQ((*used)[block], block < 5 || is_used(block)) << block;
  }
}

TEST(builder, an_array_takes_as_many_blocks_as_it_is_said_to) {
  const std::uint64_t per_block = array_max_entries(sizeof(le64));
  const std::uint64_t per_node = btree_max_entries(sizeof(le64));
  for (const std::uint64_t nr_entries :
       {std::uint64_t{0}, std::uint64_t{1}, per_block, per_block + 1, per_block * per_node + 1}) {
    const std::uint64_t nr_blocks = blocks_of_array(sizeof(le64), nr_entries);
    memory_device on{bytes{(1 + nr_blocks) * metadata_block_size}};
    block_writer out{on, metadata_block{1}};
    std::uint64_t nr_filled = 0;
    build_array(out, sizeof(le64), nr_entries, values_from([&](std::uint64_t at) {
                  EXPECT_EQ(at, nr_filled++);
                  return at;
                }));
    ASSERT_THAT(out.finish(), succeeds());
    EXPECT_EQ(nr_filled, nr_entries);
    EXPECT_EQ(out.next(), metadata_block{1} + nr_blocks) << nr_entries;
  }
}

} // namespace
} // namespace dmcache
