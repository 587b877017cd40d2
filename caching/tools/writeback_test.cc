#include "caching/tools/writeback.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/memory_device.h"
#include "base/testing/faulty_device.h"
#include "base/testing/matchers.h"
#include "base/testing/simulated_device.h"
#include "caching/metadata/cache_contents.h"
#include "caching/metadata/testing/described_cache.h"
#include "caching/metadata/testing/stored_metadata.h"
#include "caching/tools/testing/watched_device.h"

namespace dmcache {
namespace {

using block_set = std::set<std::uint64_t>;

// A cache block n that is even is at origin block n / 2, and dirty unless n is a multiple of four.
class writeback_test : public testing::TestWithParam<std::uint32_t> {
 protected:
  static constexpr std::uint32_t cache_blocks = 600; // more than an array block of mappings
  static constexpr std::uint64_t metadata_blocks = 64;

  void make(std::uint32_t block_size = min_data_block_size) {
    superblock block = described_cache(GetParam(), nr_blocks_);
    block.data_block_size = block_size;
    block_bytes_ = std::uint64_t{block_size} * sector_size;
    cache_contents contents{block};
    for (std::uint64_t n = 0; n < nr_blocks_; n += 2) {
      ASSERT_FALSE(contents.add({cache_block{n}, origin_block{n / 2}, n % 4 != 0}));
    }
    memory_device metadata{bytes{metadata_blocks * metadata_block_size}};
    progress quiet{true};
    ASSERT_THAT(contents.write(metadata, quiet), succeeds());
    metadata_.assign(metadata.contents().begin(), metadata.contents().end());
    fast_.emplace(bytes{nr_blocks_ * block_bytes_});
    for (std::uint64_t n = 0; n < nr_blocks_; ++n) {
      std::fill_n(fast_->contents().subspan(n * block_bytes_).data(), block_bytes_, content_of(n));
    }
    origin_.emplace(bytes{nr_blocks_ / 2 * block_bytes_});
  }

  static std::byte content_of(std::uint64_t n) { return static_cast<std::byte>(n % 255 + 1); }

  block_set dirty() const {
    block_set all;
    for (std::uint64_t n = 2; n < nr_blocks_; n += 4) {
      all.insert(n);
    }
    return all;
  }

  // Writes back with a memory device that holds the metadata, and updates metadata_.
  result<> write_back(device &origin, device &fast, const writeback_options &options = {}) {
    auto owned = std::make_unique<memory_device>(metadata_);
    memory_device &on = *owned;
    const auto metadata = read_metadata_device(std::move(owned));
    report quiet{"test", true};
    writeback_options chosen = options;
    chosen.accepts_differing = true; // what is clean has never been written to the origin
    auto done = dmcache::write_back(*metadata, origin, fast, chosen, quiet);
    metadata_.assign(on.contents().begin(), on.contents().end());
    return done;
  }

  static block_set dirty_on(std::vector<std::byte> image) {
    memory_device on{std::move(image)};
    const mapping_map mapped = sound_on(on).mapped;
    EXPECT_EQ(mapped.size(), cache_blocks / 2);
    block_set blocks;
    for (const auto &[block, stored] : mapped) {
      if (stored.dirty) {
        blocks.insert(block);
      }
    }
    return blocks;
  }

  // Exactly these blocks have reached the origin.
  void expect_copied(const block_set &blocks) {
    for (std::uint64_t n = 0; n < nr_blocks_; n += 2) {
      const auto at = origin_->contents().subspan(n / 2 * block_bytes_, block_bytes_);
      const std::byte expected = blocks.contains(n) ? content_of(n) : std::byte{};
      const std::vector<std::byte> block(block_bytes_, expected);
      EXPECT_EQ(std::memcmp(at.data(), block.data(), at.size()), 0) << n;
    }
  }

  std::uint32_t nr_blocks_ = cache_blocks;
  std::uint64_t block_bytes_ = 0;
  std::vector<std::byte> metadata_;
  std::optional<memory_device> fast_;
  std::optional<memory_device> origin_;
};

INSTANTIATE_TEST_SUITE_P(versions, writeback_test, testing::Values(1, 2));

TEST_P(writeback_test, a_block_that_cannot_be_read_stays_dirty_and_costs_no_other) {
  make();
  faulty_device fast{*fast_};
  for (const std::uint64_t lost : {2U, 302U, 598U}) { // the first, the last, one between
    const std::uint64_t at = lost * block_bytes_ + 4096;
    fast.fail_reads(bytes{at}, bytes{at + 4096});
  }
  const auto done = write_back(*origin_, fast);
  EXPECT_THAT(done, fails_with(failure::failed));
  EXPECT_EQ(dirty_on(metadata_), (block_set{2, 302, 598}));
  block_set copied = dirty();
  for (const std::uint64_t lost : {2U, 302U, 598U}) {
    copied.erase(lost);
  }
  expect_copied(copied);
}

TEST_P(writeback_test, a_block_that_is_written_in_part_stays_dirty) {
  make();
  faulty_device origin{*origin_};
  const std::uint64_t at = 150 / 2 * block_bytes_ + block_bytes_ - 4096;
  origin.fail_writes(bytes{at}, bytes{at + 4096});
  EXPECT_THAT(write_back(origin, *fast_), fails_with(failure::failed));
  EXPECT_EQ(dirty_on(metadata_), block_set{150});
}

TEST_P(writeback_test, one_bad_piece_of_a_large_block_is_enough) {
  nr_blocks_ = 8;
  make(2 * 4096); // 4 MiB, copied in pieces
  faulty_device fast{*fast_};
  const std::uint64_t at = 2 * block_bytes_ + 3 * block_bytes_ / 4;
  fast.fail_reads(bytes{at}, bytes{at + 4096});
  EXPECT_THAT(write_back(*origin_, fast), fails_with(failure::failed));
  std::uint64_t nr_copied = 0;
  for (std::uint64_t i = 0; i < block_bytes_; ++i) {
    nr_copied += origin_->contents()[3 * block_bytes_ + i] == content_of(6) ? 1U : 0U;
  }
  EXPECT_EQ(nr_copied, block_bytes_);
}

TEST_P(writeback_test, what_failed_is_tried_again_as_often_as_told) {
  constexpr std::uint64_t bad = 302;
  for (const std::uint64_t retries : {0U, 1U, 2U}) {
    make();
    unsigned nr_failed = 0;
    watched_device fast{*fast_, [&](const io_request *request) {
                          const std::uint64_t at = bad * block_bytes_;
                          return touches(request, at, at + 1) && nr_failed++ < 3;
                        }};
    // The job as a whole fails, then the block alone, then each retry.
    EXPECT_EQ(write_back(*origin_, fast, {.nr_retries = retries}).has_value(), retries == 2);
    EXPECT_EQ(dirty_on(metadata_), retries == 2 ? block_set{} : block_set{bad});
  }
}

TEST_P(writeback_test, without_a_flush_of_the_origin_all_stays_dirty) {
  make();
  faulty_device origin{*origin_};
  origin.fail_flushes();
  const auto before = metadata_;
  const auto done = write_back(origin, *fast_);
  EXPECT_THAT(done,
              fails_with(failure::environment, testing::HasSubstr("cannot flush the origin")));
  EXPECT_EQ(metadata_, before);
}

// So that no power cut leaves a block that is clean in the metadata and not on the origin.
TEST_P(writeback_test, the_origin_is_flushed_between_its_writes_and_those_of_metadata) {
  for (const auto interval : {std::chrono::seconds{0}, std::chrono::seconds{3600}}) {
    make();
    std::string order;
    const auto note = [&](char write, char flush) {
      return [&order, write, flush](const io_request *request) {
        if (request == nullptr || is_write(request)) {
          order += request == nullptr ? flush : write;
        }
        return false;
      };
    };
    watched_device origin{*origin_, note('o', 'O')};
    memory_device behind{metadata_};
    const auto metadata =
        read_metadata_device(std::make_unique<watched_device>(behind, note('m', 'M')));
    report quiet{"test", true};
    ASSERT_THAT(dmcache::write_back(*metadata, origin, *fast_,
                                    {.accepts_differing = true, .update_interval = interval},
                                    quiet),
                succeeds());
    EXPECT_EQ(order.find("om"), std::string::npos) << order;
    EXPECT_EQ(order.find("oM"), std::string::npos) << order;
    EXPECT_EQ(order.find("mo"), std::string::npos) << order;
    const bool is_marked_meanwhile = order.find("Mo") != std::string::npos;
    EXPECT_EQ(is_marked_meanwhile, interval.count() == 0) << order;
    EXPECT_TRUE(order.ends_with('M')) << order;
  }
}

TEST_P(writeback_test, without_a_flush_of_the_fast_device_all_stays_dirty) {
  make();
  faulty_device fast{*fast_};
  fast.fail_flushes();
  const auto before = metadata_;
  const auto done = write_back(*origin_, fast);
  EXPECT_THAT(done, fails_with(failure::environment,
                               "150 of 150 copied blocks may still count as dirty: cannot flush "
                               "the fast device: Input/output error"));
  EXPECT_EQ(metadata_, before);
  EXPECT_THAT(write_back(*origin_, fast, {.update_metadata = false}), succeeds());
}

// Of blocks that it doesn't use, some may belong to the one that a power cut would bring back.
TEST_P(writeback_test, the_superblock_that_was_read_is_durable_before_another_block_is_written) {
  make();
  std::string order;
  memory_device behind{metadata_};
  const auto metadata =
      read_metadata_device(std::make_unique<watched_device>(behind, [&](const io_request *request) {
        if (request == nullptr || is_write(request)) {
          order += request == nullptr ? 'F' : touches(request, 0, metadata_block_size) ? 's' : 'b';
        }
        return false;
      }));
  report quiet{"test", true};
  ASSERT_THAT(dmcache::write_back(*metadata, *origin_, *fast_, {.accepts_differing = true}, quiet),
              succeeds());
  EXPECT_LT(order.find("sF"), order.find('b')) << order;
}

TEST_P(writeback_test, the_origin_is_written_in_order_and_neighbours_together) {
  make();
  std::uint64_t nr_writes = 0;
  bytes end{0};
  watched_device origin{*origin_, [&](const io_request *request) {
                          if (is_write(request)) {
                            EXPECT_LE(end, request->offset);
                            end = request->offset + request->data.size();
                            ++nr_writes;
                          }
                          return false;
                        }};
  // Without the flag of a clean shutdown all blocks are dirty: the origin from its first block on.
  memory_device on{metadata_};
  superblock block = read_superblock(on).value();
  block.flags = 0;
  ASSERT_THAT(commit_superblock(on, block), succeeds());
  metadata_.assign(on.contents().begin(), on.contents().end());
  ASSERT_THAT(write_back(origin, *fast_), succeeds());
  EXPECT_EQ(nr_writes, (cache_blocks / 2 * block_bytes_ >> 20) + 1); // of 1 MiB each
  EXPECT_EQ(dirty_on(metadata_), block_set{});
}

TEST_P(writeback_test, a_power_cut_while_flags_are_cleared_leaves_the_old_ones_or_the_new_ones) {
  make();
  std::uint64_t nr_done = 0;
  for (std::uint64_t cut = 0; nr_done == 0; ++cut) {
    for (std::uint64_t trial = 0; trial < 5; ++trial) {
      auto owned = std::make_unique<simulated_device>(metadata_, trial);
      simulated_device &on = *owned;
      on.cut_power_at(cut);
      const auto metadata = read_metadata_device(std::move(owned));
      report quiet{"test", true};
      const auto done =
          dmcache::write_back(*metadata, *origin_, *fast_, {.accepts_differing = true}, quiet);
      nr_done += done ? 1U : 0U;
      const block_set left = dirty_on(on.after_power_cut());
      EXPECT_TRUE(left.empty() || (!done && left == dirty())) << cut;
    }
  }
  EXPECT_EQ(nr_done, 5U);
}

TEST_P(writeback_test, unknown_features_forbid_to_write_the_metadata) {
  make();
  memory_device on{metadata_};
  superblock block = read_superblock(on).value();
  block.compat_ro_flags = 1;
  ASSERT_THAT(commit_superblock(on, block), succeeds());
  metadata_.assign(on.contents().begin(), on.contents().end());
  const auto before = metadata_;
  const auto done = write_back(*origin_, *fast_);
  EXPECT_THAT(done, fails_with(failure::failed, testing::HasSubstr("unknown features")));
  expect_copied({});
  EXPECT_THAT(write_back(*origin_, *fast_, {.update_metadata = false}), succeeds());
  expect_copied(dirty());
  EXPECT_EQ(metadata_, before);
}

} // namespace
} // namespace dmcache
