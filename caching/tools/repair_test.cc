#include "caching/tools/repair.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <set>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/lent_device.h"
#include "base/memory_device.h"
#include "base/testing/faulty_device.h"
#include "base/testing/matchers.h"
#include "base/testing/simulated_device.h"
#include "caching/metadata/cache_contents.h"
#include "caching/metadata/testing/described_cache.h"
#include "caching/metadata/testing/stored_metadata.h"
#include "caching/tools/check.h"
#include "persistent-data/btree_walk.h"

namespace dmcache {
namespace {

constexpr std::uint32_t cache_blocks = 1200; // three array blocks of mappings
constexpr std::uint64_t device_blocks = 64;

class repair_test : public testing::TestWithParam<std::uint32_t> {
 protected:
  repair_test() { make(cache_blocks); }

  static superblock described(std::uint32_t nr_blocks) {
    superblock block = described_cache(GetParam(), nr_blocks);
    block.policy_hint_size = sizeof(le32);
    return block;
  }

  void make(std::uint32_t nr_blocks) {
    cache_contents contents{described(nr_blocks)};
    truth_.clear();
    for (std::uint64_t n = 0; n < nr_blocks; n += 2) {
      const mapping each{cache_block{n}, origin_block{5000 - n}, n % 3 == 0};
      EXPECT_FALSE(contents.add(each));
      EXPECT_FALSE(contents.add_hint(each.cached_in, le32{7}));
      truth_[n] = {each.origin.value(), each.dirty};
    }
    write(contents);
  }

  void write(const cache_contents &contents) {
    std::fill_n(input_.contents().data(), input_.contents().size(), std::byte{});
    progress quiet{true};
    EXPECT_THAT(contents.write(input_, quiet), succeeds());
  }

  result<repair_losses> repair(device &from, const cache_facts &known = {}) {
    report quiet{"test", true};
    return dmcache::repair(
        from, known, false,
        [&]() -> result<std::unique_ptr<device>> { return std::make_unique<lent_device>(output_); },
        quiet);
  }

  // Of the input, which stays sealed.
  template <typename Change> void change_superblock(Change change) {
    superblock block;
    std::memcpy(&block, input_.contents().data(), sizeof block);
    change(block);
    std::memcpy(input_.contents().data(), &block, sizeof block);
    seal(superblock_type, superblock_location, input_.contents().first<metadata_block_size>());
  }

  std::span<std::byte, metadata_block_size> block_of_input(std::uint64_t at) {
    return input_.contents().subspan(at * metadata_block_size).first<metadata_block_size>();
  }

  // What is in the output, which must be sound.
  mapping_map repaired() {
    auto metadata = read_metadata_device(std::make_unique<lent_device>(output_));
    report quiet{"test", true};
    EXPECT_EQ(check(std::move(*metadata), {}, quiet), 0);
    return sound_on(output_).mapped;
  }

  // Nothing is mapped wrongly, and nothing that is dirty is said to be clean.
  void expect_true(const mapping_map &found) const {
    for (const auto &[block, says] : found) {
      const auto known = truth_.find(block);
      ASSERT_NE(known, truth_.end());
      EXPECT_EQ(says.origin, known->second.origin);
      EXPECT_TRUE(says.dirty || !known->second.dirty) << block;
    }
  }

  std::uint64_t nr_dirty_missing(const mapping_map &found) const {
    return static_cast<std::uint64_t>(std::ranges::count_if(truth_, [&](const auto &each) {
      return each.second.dirty && !found.contains(each.first);
    }));
  }

  memory_device input_{bytes{device_blocks * metadata_block_size}};
  memory_device output_{bytes{device_blocks * metadata_block_size}};
  mapping_map truth_;
};

INSTANTIATE_TEST_SUITE_P(versions, repair_test, testing::Values(1, 2));

TEST_P(repair_test, leaves_sound_metadata_as_they_are) {
  ASSERT_THAT(repair(input_), succeeds());
  EXPECT_EQ(repaired(), truth_);
}

TEST_P(repair_test, a_block_that_cannot_be_read_costs_its_own_entries_only) {
  const std::uint64_t per_part = array_max_entries(sizeof(le64));
  const std::uint64_t root = read_superblock(input_).value().mapping_root;
  bool saw_loss = false;
  for (std::uint64_t bad = 1; bad < device_blocks; ++bad) {
    if (bad == root) {
      continue;
    }
    faulty_device from{input_};
    from.fail_reads(bytes{bad * metadata_block_size}, bytes{(bad + 1) * metadata_block_size});
    const auto losses = repair(from);
    ASSERT_THAT(losses, succeeds()) << bad;
    const mapping_map found = repaired();
    expect_true(found);
    EXPECT_GE(found.size() + per_part / 2 + 1, truth_.size()) << bad;
    EXPECT_TRUE(losses->device_failed || found == truth_) << bad;
    EXPECT_EQ(losses->nr_blocks != 0, nr_dirty_missing(found) != 0) << bad;
    saw_loss = saw_loss || found.size() < truth_.size();
  }
  EXPECT_TRUE(saw_loss);
}

TEST_P(repair_test, only_what_may_be_dirty_counts_as_lost) {
  const std::uint64_t per_part = array_max_entries(sizeof(le64));
  const std::uint64_t root = read_superblock(input_).value().mapping_root;
  for (std::uint64_t bad = 1; bad < device_blocks; ++bad) {
    faulty_device from{input_};
    from.fail_reads(bytes{bad * metadata_block_size}, bytes{(bad + 1) * metadata_block_size});
    const auto losses = repair(from);
    ASSERT_THAT(losses, succeeds()) << bad;
    const std::uint64_t missing = nr_dirty_missing(repaired());
    if (GetParam() == 2) {
      EXPECT_EQ(losses->nr_blocks, missing) << bad;
    } else if (bad != root && missing != 0) { // whether anything was mapped is lost as well
      EXPECT_TRUE(losses->nr_blocks == per_part || losses->nr_blocks == cache_blocks % per_part)
          << bad;
    }
  }
}

TEST_P(repair_test, each_of_several_dirty_blocks_in_a_row_counts_as_lost) {
  cache_contents contents{described(cache_blocks)};
  for (std::uint64_t n = 0; n < cache_blocks; ++n) {
    EXPECT_FALSE(contents.add({cache_block{n}, origin_block{n}, n >= 100 && n < 150}));
  }
  write(contents);
  const std::uint64_t root = read_superblock(input_).value().mapping_root;
  const auto parts = read_leaf(metadata_block{root}, block_of_input(root));
  block_of_input(parts.front().second)[0] ^= std::byte{1};
  const auto losses = repair(input_);
  ASSERT_THAT(losses, succeeds());
  EXPECT_EQ(losses->nr_blocks, GetParam() == 2 ? 50U : array_max_entries(sizeof(le64)));
}

TEST_P(repair_test, discards_of_an_origin_that_is_too_small_for_the_mappings_are_left_out) {
  superblock block = described(cache_blocks);
  block.discard_block_size = min_data_block_size;
  block.discard_nr_blocks = 1000;
  cache_contents contents{block};
  EXPECT_FALSE(contents.add({cache_block{1}, origin_block{1000}, false}));
  EXPECT_FALSE(contents.add_discards(7, 9));
  write(contents);
  ASSERT_THAT(repair(input_), succeeds());
  EXPECT_THAT(repaired(), testing::SizeIs(1));
  EXPECT_THAT(stored_on(output_).discards, testing::IsEmpty());
}

TEST_P(repair_test, the_size_given_must_be_that_of_the_mappings) {
  faulty_device from{input_};
  from.fail_reads(bytes{0}, bytes{metadata_block_size});
  for (const std::uint32_t size : {cache_blocks - 1, cache_blocks + 1, cache_blocks / 2, 19U}) {
    EXPECT_THAT(
        repair(from, {.data_block_size = min_data_block_size,
                      .cache_blocks = size,
                      .version = {},
                      .policy = {}}),
        fails_with(failure::environment, testing::HasSubstr("mappings of 1200 cache blocks")));
    EXPECT_THAT(read_superblock(output_), fails_with(failure::failed));
  }
}

TEST_P(repair_test, without_the_root_a_block_is_placed_only_if_there_is_one_way_to) {
  const std::uint64_t per_part = array_max_entries(sizeof(le64));
  for (const std::uint64_t nr_blocks : {per_part, 2 * per_part, per_part + 300, 3 * per_part + 2}) {
    make(static_cast<std::uint32_t>(nr_blocks));
    faulty_device from{input_};
    const bytes root = offset_of(metadata_block{read_superblock(input_).value().mapping_root});
    from.fail_reads(root, bytes{root.value() + metadata_block_size});
    ASSERT_THAT(repair(from), succeeds()) << nr_blocks;
    const mapping_map found = repaired();
    expect_true(found);
    if (nr_blocks == per_part || nr_blocks == per_part + 300) {
      EXPECT_EQ(found.size(), truth_.size()); // no two blocks of one size
    } else {
      EXPECT_EQ(found.size(), nr_blocks % per_part == 0 ? 0U : 1U);
    }
  }
}

TEST_P(repair_test, a_search_that_could_not_read_everything_says_so) {
  report quiet{"test", true};
  EXPECT_THAT(list_roots(input_, {}, quiet), succeeds());
  faulty_device from{input_};
  from.fail_reads(bytes{(device_blocks - 1) * metadata_block_size},
                  bytes{device_blocks * metadata_block_size});
  EXPECT_THAT(
      list_roots(from, {}, quiet),
      fails_with(failure::environment, testing::HasSubstr("not all of the device could be read")));
  std::ranges::fill(input_.contents().first(metadata_block_size), std::byte{});
  const cache_facts known{.data_block_size = min_data_block_size,
                          .cache_blocks = cache_blocks,
                          .version = {},
                          .policy = {}};
  const auto losses = repair(from, known);
  EXPECT_TRUE(losses ? losses->device_failed : losses.error().kind == failure::environment);
}

TEST_P(repair_test, a_superblock_that_cannot_be_read_is_searched_for) {
  faulty_device from{input_};
  from.fail_reads(bytes{0}, bytes{metadata_block_size});
  EXPECT_THAT(repair(from), fails_with(failure::environment));
  EXPECT_THAT(read_superblock(output_), fails_with(failure::failed));
  ASSERT_THAT(repair(from, {.data_block_size = min_data_block_size,
                            .cache_blocks = cache_blocks,
                            .version = {},
                            .policy = {}}),
              succeeds());
  const mapping_map found = repaired();
  expect_true(found);
  EXPECT_EQ(found.size(), truth_.size());
  EXPECT_TRUE(std::ranges::all_of(found, [](const auto &each) { return each.second.dirty; }));
}

TEST_P(repair_test, an_origin_without_discards_contradicts_no_block_size) {
  faulty_device from{input_};
  from.fail_reads(bytes{0}, bytes{metadata_block_size});
  ASSERT_THAT(repair(from, {.data_block_size = min_data_block_size,
                            .cache_blocks = cache_blocks,
                            .origin_size = sectors{std::uint64_t{5001} * min_data_block_size}}),
              succeeds());
  expect_true(repaired());
}

TEST_P(repair_test, a_wrong_version_is_mended) {
  for (const std::uint32_t wrong : {0U, 3U, ~0U}) {
    make(cache_blocks);
    change_superblock([&](superblock &block) { block.version = wrong; });
    ASSERT_THAT(repair(input_), succeeds()) << wrong;
    EXPECT_EQ(repaired(), truth_) << wrong;
    EXPECT_EQ(read_superblock(output_).value().version, GetParam()) << wrong;
  }
}

// If nothing else is: all trees that the superblock names are whole.
TEST_P(repair_test, so_is_a_magic_number_where_the_space_map_cannot_be_read) {
  change_superblock([](superblock &block) { block.magic = 5; });
  superblock block;
  std::memcpy(&block, input_.contents().data(), sizeof block);
  input_.contents()[block.space_map.bitmap_root * metadata_block_size] ^= std::byte{1};
  ASSERT_THAT(repair(input_), succeeds());
  EXPECT_EQ(repaired(), truth_);
}

TEST_P(repair_test, cut_short_by_a_power_cut_leaves_what_stood_there_or_the_repaired_metadata) {
  const std::uint64_t nr_used = 14; // enough for either, and not for both
  for (const std::uint64_t nr_blocks : {nr_used, device_blocks}) {
    make(cache_blocks);
    memory_device old{bytes{nr_blocks * metadata_block_size}};
    report quiet{"test", true};
    const auto repair_to = [&](device &to) {
      return dmcache::repair(
          input_, {}, false,
          [&]() -> result<std::unique_ptr<device>> { return std::make_unique<lent_device>(to); },
          quiet);
    };
    ASSERT_THAT(repair_to(old), succeeds());
    const mapping_map before = truth_;
    make(cache_blocks / 2);
    const std::vector<std::byte> image{old.contents().begin(), old.contents().end()};
    std::set<std::size_t> sizes; // of what was found; 0 if there was nothing
    bool is_done = false;
    for (std::uint64_t cut = 0; !is_done; ++cut) {
      for (std::uint64_t trial = 0; trial < 5; ++trial) {
        simulated_device on{image, trial};
        on.cut_power_at(cut);
        is_done = repair_to(on).has_value();
        memory_device after{on.after_power_cut()};
        const mapping_map found = read_superblock(after) ? sound_on(after).mapped : mapping_map{};
        EXPECT_TRUE(found == truth_ || (!is_done && (found.empty() || found == before))) << cut;
        sizes.insert(found.size());
      }
    }
    EXPECT_EQ(sizes.contains(0), nr_blocks == nr_used);
    EXPECT_TRUE(sizes.contains(before.size()) && sizes.contains(truth_.size()));
  }
}

TEST_P(repair_test, says_so_if_the_output_fails) {
  memory_device behind{bytes{device_blocks * metadata_block_size}};
  report quiet{"test", true};
  for (const std::uint64_t bad : {0U, 1U, 4U}) {
    faulty_device to{behind};
    to.fail_writes(bytes{bad * metadata_block_size}, bytes{(bad + 1) * metadata_block_size});
    const auto done = dmcache::repair(
        input_, {}, false,
        [&]() -> result<std::unique_ptr<device>> { return std::make_unique<lent_device>(to); },
        quiet);
    EXPECT_THAT(done, fails_with(failure::environment)) << bad;
    EXPECT_THAT(read_superblock(behind), fails_with(failure::failed));
  }
}

} // namespace
} // namespace dmcache
