#include "persistent-data/array_reader.h"

#include <numeric>

#include <gtest/gtest.h>

#include "persistent-data/bitset_reader.h"
#include "persistent-data/testing/image_builder.h"

namespace dmcache {
namespace {

constexpr std::uint64_t root = 1;
constexpr std::uint64_t nr_entries = 1100; // two full array blocks, 2 and 3, and 82 entries in 4

// Entry i is i.
class array_reader_test : public testing::Test {
 protected:
  array_reader_test() : image_{16}, values_(nr_entries) {
    std::iota(values_.begin(), values_.end(), 0);
    image_.add_array(root, values_);
  }

  // The entries that can be read, in order.
  std::vector<std::uint64_t> read(std::optional<std::uint64_t> expected = nr_entries) {
    const walk_context context = image_.context();
    array_reader reader{context,
                        {.root = metadata_block{root},
                         .value_size = 8,
                         .nr_entries = expected,
                         .kind = {structure::mappings, true},
                         .lost_limit = nr_entries}};
    std::vector<std::uint64_t> found;
    while (const auto leaf = reader.next()) {
      for (std::uint64_t i = 0; i < leaf->count; ++i) {
        le64 value;
        std::memcpy(&value, leaf->values.data() + 8 * i, sizeof value);
        EXPECT_EQ(value, leaf->first + i);
        found.push_back(value);
      }
    }
    return found;
  }

  void expect_lost(key_range lost, const std::string &text) {
    std::erase_if(values_, [&](std::uint64_t i) { return i >= lost.begin && i < lost.end; });
    EXPECT_EQ(read(), values_);
    EXPECT_EQ(image_.sink.text(), text + "\n");
    ASSERT_EQ(image_.sink.all.size(), 1U);
    EXPECT_EQ(image_.sink.all[0].lost, lost);
  }

  void set_header(std::uint64_t where, std::size_t offset, std::uint32_t value) {
    image_.set<le32>(where, offset, value);
    image_.seal_block(array_block_type, where);
  }

  image_builder image_;
  std::vector<std::uint64_t> values_;
};

TEST_F(array_reader_test, reads_all_entries_in_order) {
  EXPECT_EQ(read(), values_);
  EXPECT_EQ(image_.sink.text(), "");
}

TEST_F(array_reader_test, takes_any_consistent_size_if_none_is_expected) {
  EXPECT_EQ(read(std::nullopt), values_);
  EXPECT_EQ(image_.sink.text(), "");
}

TEST_F(array_reader_test, a_bad_array_block_loses_its_own_entries) {
  image_.block(3)[100] ^= std::byte{1};
  expect_lost({509, 1018}, "block 3: bad checksum (1 -> 3)");
}

TEST_F(array_reader_test, what_is_lost_ends_with_the_array) {
  image_.block(4)[100] ^= std::byte{1};
  expect_lost({1018, 1100}, "block 4: bad checksum (1 -> 4)");
}

TEST_F(array_reader_test, a_gap_in_the_index_loses_what_stood_there) {
  image_.add_leaf(root, {{0, 2}, {2, 4}});
  expect_lost({509, 1018}, "block 1: the tree has no entry for array blocks 1-1 (1)");
}

TEST_F(array_reader_test, a_lost_tree_is_told_once) {
  image_.block(root)[100] ^= std::byte{1};
  expect_lost({0, 1100}, "block 1: bad checksum (1)");
}

TEST_F(array_reader_test, a_block_with_too_few_entries_loses_the_rest) {
  set_header(3, offsetof(array_block_header, nr_entries), 500);
  expect_lost({1009, 1018}, "block 3: 500 entries where 509 are expected (1 -> 3)");
}

TEST_F(array_reader_test, entries_past_the_end_are_damage_and_not_read) {
  set_header(4, offsetof(array_block_header, nr_entries), 83);
  EXPECT_EQ(read(), values_);
  EXPECT_EQ(image_.sink.text(), "block 4: 83 entries where 82 are expected (1 -> 4)\n");
}

TEST_F(array_reader_test, sizes_are_not_believed) {
  set_header(3, offsetof(array_block_header, value_size), 0);
  expect_lost({509, 1018}, "block 3: 509 of 509 entries of 0 bytes, where an array block has up to "
                           "509 of 8 (1 -> 3)");
}

TEST_F(array_reader_test, an_array_block_used_twice_is_damage) {
  image_.add_leaf(root, {{0, 2}, {1, 2}, {2, 4}});
  expect_lost({509, 1018}, "block 1: points to block 2, which is in use already (mappings) (1)");
}

TEST_F(array_reader_test, an_absurd_size_costs_neither_time_nor_memory) {
  EXPECT_EQ(read(std::uint64_t{1} << 60).size(), nr_entries);
  EXPECT_EQ(image_.sink.all.size(), 2U); // the short last block, and one gap after it
}

// Words of all ones but the last of each array block.
class bitset_reader_test : public testing::Test {
 protected:
  bitset_reader_test() : image_{16} {
    std::vector<std::uint64_t> words(600, ~std::uint64_t{0});
    words[0] = 0b101;
    image_.add_array(root, words);
  }

  // "+" a readable run's length, "-" a lost one's.
  std::string runs(std::uint64_t nr_bits) {
    const walk_context context = image_.context();
    bitset_reader reader{context, metadata_block{root}, nr_bits, {structure::dirty_bits, true}};
    std::string found;
    std::uint64_t position = 0;
    while (const auto run = reader.next()) {
      EXPECT_EQ(run->first, position);
      position += run->count;
      found += fmt::format("{}{}", run->readable ? "+" : "-", run->count);
      if (run->readable && run->first == 0 && run->count != 0) {
        EXPECT_TRUE(run->test(0));
        EXPECT_FALSE(run->test(1));
        EXPECT_TRUE(run->test(2));
        EXPECT_TRUE(run->test(64));
      }
    }
    return found;
  }

  image_builder image_;
};

TEST_F(bitset_reader_test, reads_just_the_bits_that_there_are) {
  EXPECT_EQ(runs(600 * 64 - 7), "+32576+5817");
  EXPECT_EQ(image_.sink.text(), "");
}

TEST_F(bitset_reader_test, tells_lost_bits_from_read_ones) {
  image_.block(2)[100] ^= std::byte{1};
  EXPECT_EQ(runs(600 * 64), "-32576+5824");
  EXPECT_EQ(image_.sink.all.at(0).lost, (key_range{0, 32576}));
}

TEST_F(bitset_reader_test, an_array_block_without_entries_costs_no_other) {
  image_.set<le32>(2, offsetof(array_block_header, nr_entries), 0);
  image_.seal_block(array_block_type, 2);
  EXPECT_EQ(runs(600 * 64), "+0-32576+5824");
  EXPECT_EQ(image_.sink.all.at(0).lost, (key_range{0, 32576}));
}

TEST_F(bitset_reader_test, lost_bits_at_the_end_are_covered_too) {
  image_.block(3)[100] ^= std::byte{1};
  EXPECT_EQ(runs(600 * 64), "+32576-5824");
}

} // namespace
} // namespace dmcache
