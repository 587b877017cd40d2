#include "caching/metadata/metadata_reader.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>

#include <gtest/gtest.h>

#include "caching/metadata/testing/metadata_image.h"

namespace dmcache {
namespace {

// Notes what it visits: "0:50 1:51d" for mappings, "[2,5)" for discards.
class note_taker final : public metadata_visitor {
 public:
  void mappings(std::span<const mapping> some) override {
    for (const mapping &each : some) {
      notes += fmt::format("{}:{}{} ", each.cached_in, each.origin, each.dirty ? "d" : "");
    }
  }
  void discards(std::uint64_t begin, std::uint64_t end) override {
    notes += fmt::format("[{},{}) ", begin, end);
  }

  std::string notes;
};

class metadata_reader_test : public testing::TestWithParam<std::uint32_t> {
 protected:
  // Marks cache block 1 dirty, where the version keeps that.
  void make_dirty() {
    if (GetParam() == 1) {
      cache_.map(1, 51, mapping_entry::valid | mapping_entry::dirty);
    } else {
      cache_.dirty_words[0] = 0b10;
    }
  }

  std::string read(dirty_meaning meaning = dirty_meaning::true_state) {
    cache_.write();
    note_taker visitor;
    ambiguous_ = read_metadata(cache_.image.context(), cache_.block, {.meaning = meaning}, visitor);
    return visitor.notes;
  }

  std::string told() { return cache_.image.sink.text(); }

  metadata_image cache_{GetParam()};
  std::optional<origin_block_set> ambiguous_;
};

TEST_P(metadata_reader_test, mappings_come_with_their_dirty_state) {
  make_dirty();
  EXPECT_EQ(read(), "0:50 1:51d 2:52 3:53 ");
  EXPECT_EQ(told(), "");
  EXPECT_FALSE(ambiguous_.has_value());
}

TEST_P(metadata_reader_test, all_is_dirty_without_a_clean_shutdown) {
  make_dirty();
  cache_.block.flags = 0;
  EXPECT_EQ(read(), "0:50d 1:51d 2:52d 3:53d ");
}

TEST_P(metadata_reader_test, stored_bits_can_be_asked_for) {
  make_dirty();
  cache_.block.flags = 0;
  EXPECT_EQ(read(dirty_meaning::as_stored), "0:50 1:51d 2:52 3:53 ");
}

TEST_P(metadata_reader_test, claims_of_one_origin_block_are_ambiguous) {
  cache_.map(9, 52);
  EXPECT_EQ(read(), "0:50 1:51 2:52 3:53 9:52 ");
  EXPECT_EQ(told(),
            "block 11: cache block 9: origin block 52 is mapped by another cache block, too "
            "(10 -> 11)\n");
  ASSERT_TRUE(ambiguous_.has_value());
  EXPECT_TRUE(ambiguous_->contains(origin_block{52}));
  EXPECT_FALSE(ambiguous_->contains(origin_block{51}));
}

TEST_P(metadata_reader_test, flags_that_are_unknown_make_a_mapping_dirty) {
  cache_.map(2, 52, mapping_entry::valid | 4);
  EXPECT_EQ(read(), "0:50 1:51 2:52d 3:53 ");
  EXPECT_EQ(told(), "block 11: cache block 2: mapping with unknown flags (10 -> 11)\n");
}

TEST_P(metadata_reader_test, entries_that_are_not_valid_are_zero) {
  cache_.map(4, 54, 0);
  cache_.map(5, 55, 0);
  EXPECT_EQ(read(), "0:50 1:51 2:52 3:53 ");
  EXPECT_EQ(told(), "block 11: cache blocks 4-5: unmapped entry that isn't zero (10 -> 11)\n");
}

TEST_P(metadata_reader_test, the_origin_ends_where_the_discard_fields_say) {
  cache_.block.discard_block_size = 256;
  cache_.block.discard_nr_blocks = 26; // 52 blocks of 128 sectors
  cache_.discard_words = {0};
  read();
  EXPECT_EQ(told(), "block 11: cache blocks 2-3: mapping to beyond the end of the origin "
                    "(10 -> 11)\n");
}

TEST_P(metadata_reader_test, the_origin_may_have_grown_since_a_clean_shutdown) {
  cache_.block.discard_block_size = 256;
  cache_.block.discard_nr_blocks = 26;
  cache_.discard_words = {0};
  cache_.block.flags = 0;
  read();
  EXPECT_EQ(told(), "");
}

TEST_P(metadata_reader_test, discards_are_told_as_runs) {
  cache_.block.discard_block_size = 128;
  cache_.block.discard_nr_blocks = 130;
  cache_.discard_words = {std::uint64_t{1} << 63 | 0b0110, 0b1, 0b10};
  EXPECT_EQ(read(), "0:50 1:51 2:52 3:53 [1,3) [63,65) [129,130) ");
}

// Notes the order of what it visits.
class order_taker final : public metadata_visitor {
 public:
  void mappings(std::span<const mapping> /*some*/) override { order += "mappings, "; }
  void end_of_mappings() override { order += "their end, "; }
  void hints(cache_block first, std::span<const le32> some) override {
    order += fmt::format("hints {}+{}, ", first, some.size());
  }
  void end_of_hints() override { order += "their end, "; }
  void discards(std::uint64_t /*begin*/, std::uint64_t /*end*/) override { order += "discards"; }

  std::string order;
};

TEST_P(metadata_reader_test, each_end_is_told_before_what_comes_next) {
  cache_.block.discard_block_size = 128;
  cache_.block.discard_nr_blocks = 64;
  cache_.discard_words = {1};
  cache_.write();
  order_taker visitor;
  read_metadata(cache_.image.context(), cache_.block, {}, visitor);
  EXPECT_EQ(visitor.order, "mappings, their end, their end, discards");
}

TEST_P(metadata_reader_test, hints_can_come_between_mappings) {
  cache_.block.cache_blocks = 1200;
  cache_.mappings.resize(1200);
  cache_.dirty_words.resize(19);
  cache_.write();
  cache_.block.hint_root = 35;
  cache_.image.add_array(35, std::vector<std::uint32_t>(1200, 7));
  order_taker together;
  read_metadata(cache_.image.context(), cache_.block, {.together = true}, together);
  EXPECT_EQ(together.order, "mappings, mappings, hints 0+1018, mappings, their end, "
                            "hints 1018+182, their end, ");
  EXPECT_EQ(told(), "");
}

INSTANTIATE_TEST_SUITE_P(versions, metadata_reader_test, testing::Values(1, 2));

// Entries that all map something are read together; 64 of them, then 36.
class full_cache_test : public metadata_reader_test {
 protected:
  full_cache_test() {
    for (std::uint64_t i = 0; i < metadata_image::cache_blocks; ++i) {
      cache_.map(i, first_origin + i);
    }
  }

  void make_dirty(std::uint64_t block) {
    if (GetParam() == 1) {
      cache_.map(block, first_origin + block, mapping_entry::valid | mapping_entry::dirty);
    } else {
      cache_.dirty_words[block / bits_per_word] |= std::uint64_t{1} << block % bits_per_word;
    }
  }

  // What read() notes of a cache of these origin blocks, of which these blocks are dirty.
  std::string noted(const std::set<std::uint64_t> &dirty,
                    const std::map<std::uint64_t, std::uint64_t> &others = {}) const {
    std::string notes;
    for (std::uint64_t i = 0; i < metadata_image::cache_blocks; ++i) {
      const auto other = others.find(i);
      notes += fmt::format("{}:{}{} ", i, other == others.end() ? first_origin + i : other->second,
                           dirty.contains(i) ? "d" : "");
    }
    return notes;
  }

  static constexpr std::uint64_t first_origin = 200;
};

TEST_P(full_cache_test, each_block_has_its_own_dirty_state) {
  const std::set<std::uint64_t> dirty = {0, 1, 31, 32, 62, 63, 64, 65, 98, 99};
  std::ranges::for_each(dirty, [this](std::uint64_t block) { make_dirty(block); });
  EXPECT_EQ(read(), noted(dirty));
  EXPECT_EQ(told(), "");
  EXPECT_FALSE(ambiguous_.has_value());
}

TEST_P(full_cache_test, all_is_dirty_without_a_clean_shutdown) {
  make_dirty(7);
  cache_.block.flags = 0;
  std::set<std::uint64_t> all;
  for (std::uint64_t i = 0; i < metadata_image::cache_blocks; ++i) {
    all.insert(i);
  }
  EXPECT_EQ(read(), noted(all));
}

TEST_P(full_cache_test, one_entry_of_another_kind_changes_no_other) {
  make_dirty(5);
  make_dirty(70);
  cache_.map(63, first_origin + 63, mapping_entry::valid | 8);
  cache_.map(64, first_origin + 64, mapping_entry::valid | 8);
  EXPECT_EQ(read(), noted({5, 63, 64, 70}));
  EXPECT_EQ(told(), "block 11: cache blocks 63-64: mapping with unknown flags (10 -> 11)\n");
}

TEST_P(full_cache_test, claims_of_one_origin_block_are_ambiguous) {
  cache_.map(40, first_origin + 2);
  cache_.map(80, first_origin + 3);
  EXPECT_EQ(read(), noted({}, {{40, first_origin + 2}, {80, first_origin + 3}}));
  EXPECT_EQ(told(),
            "block 11: cache block 40: origin block 202 is mapped by another cache block, too "
            "(10 -> 11)\n"
            "block 11: cache block 80: origin block 203 is mapped by another cache block, too "
            "(10 -> 11)\n");
  ASSERT_TRUE(ambiguous_.has_value());
  EXPECT_TRUE(ambiguous_->contains(origin_block{first_origin + 2}));
  EXPECT_TRUE(ambiguous_->contains(origin_block{first_origin + 3}));
  EXPECT_FALSE(ambiguous_->contains(origin_block{first_origin + 40}));
}

TEST_P(full_cache_test, the_origin_may_be_as_large_as_it_likes) {
  const std::uint64_t limit = origin_block_set::quick_limit.value();
  const std::map<std::uint64_t, std::uint64_t> others = {{10, limit - 1},
                                                         {20, limit},
                                                         {30, mapping_entry::max_origin_block},
                                                         {70, limit - 1},
                                                         {99, limit}};
  for (const auto &[block, origin] : others) {
    cache_.map(block, origin);
  }
  EXPECT_EQ(read(), noted({}, others));
  ASSERT_TRUE(ambiguous_.has_value());
  EXPECT_TRUE(ambiguous_->contains(origin_block{limit - 1}));
  EXPECT_TRUE(ambiguous_->contains(origin_block{limit}));
  EXPECT_FALSE(ambiguous_->contains(origin_block{mapping_entry::max_origin_block}));
}

TEST_P(full_cache_test, the_origin_ends_where_the_discard_fields_say) {
  cache_.block.discard_block_size = 256;
  cache_.block.discard_nr_blocks = 131; // 262 blocks of 128 sectors
  cache_.discard_words = {0, 0, 0};
  read();
  EXPECT_EQ(told(), "block 11: cache blocks 62-99: mapping to beyond the end of the origin "
                    "(10 -> 11)\n");
}

INSTANTIATE_TEST_SUITE_P(versions, full_cache_test, testing::Values(1, 2));

class version_2_test : public metadata_reader_test {};

TEST_P(version_2_test, has_no_dirty_flag_in_mappings) {
  cache_.map(2, 52, mapping_entry::valid | mapping_entry::dirty);
  EXPECT_EQ(read(), "0:50 1:51 2:52d 3:53 ");
  EXPECT_EQ(told(), "block 11: cache block 2: mapping with a dirty flag, which version 2 keeps "
                    "elsewhere (10 -> 11)\n");
}

TEST_P(version_2_test, an_unmapped_block_is_not_dirty) {
  cache_.dirty_words[0] = 0b10000;
  read();
  EXPECT_EQ(told(), "block 21: cache block 4: dirty bit on an unmapped cache block (20 -> 21)\n");
}

TEST_P(version_2_test, bits_of_dropped_blocks_are_stale_after_a_crash) {
  cache_.dirty_words[0] = 0b10000;
  cache_.block.flags = 0;
  read();
  EXPECT_EQ(told(), "");
}

TEST_P(version_2_test, bits_past_the_end_mean_nothing) {
  cache_.dirty_words[1] = std::uint64_t{1} << 60;
  read();
  EXPECT_EQ(told(), "");
}

TEST_P(version_2_test, what_lost_its_bit_is_dirty) {
  cache_.write();
  cache_.block.dirty_root = 25; // an empty array
  cache_.image.add_leaf(25, {});
  note_taker visitor;
  read_metadata(cache_.image.context(), cache_.block, {}, visitor);
  EXPECT_EQ(visitor.notes, "0:50d 1:51d 2:52d 3:53d ");
  EXPECT_EQ(cache_.image.sink.all.at(0).lost, (key_range{0, 100}));
}

INSTANTIATE_TEST_SUITE_P(versions, version_2_test, testing::Values(2));

} // namespace
} // namespace dmcache
