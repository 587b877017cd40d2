#include "caching/tools/writeback.h"

#include <cstring>
#include <limits>
#include <memory>
#include <set>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

#include "base/memory_device.h"
#include "base/testing/matchers.h"
#include "base/testing/simulated_device.h"
#include "caching/metadata/cache_contents.h"
#include "caching/metadata/testing/described_cache.h"
#include "caching/metadata/testing/stored_metadata.h"
#include "caching/tools/testing/watched_device.h"

namespace dmcache {
namespace {

constexpr std::uint64_t nr_cache_blocks = 12;
constexpr std::uint64_t metadata_blocks = 32;
constexpr std::uint64_t nowhere = std::numeric_limits<std::uint64_t>::max();

using block_set = std::set<std::uint64_t>;

enum class end : std::uint8_t { killed, power_cut };

// As a loop it would take most of the time of these tests.
bool is_same(std::span<const std::byte> some, std::span<const std::byte> other) {
  return some.size() == other.size() && std::memcmp(some.data(), other.data(), some.size()) == 0;
}

// Clears flags after each block.
writeback_options step_by_step() {
  return {.buffer_size = std::uint64_t{2} << 20,
          .accepts_differing = true, // what is clean has never been written to the origin
          .update_interval = {}};
}

// What survives the end of a process.
struct image {
  std::vector<std::byte> metadata;
  std::vector<std::byte> origin;
};

std::vector<std::byte> contents_of(simulated_device &of, end how) {
  if (how == end::power_cut) {
    return of.after_power_cut();
  }
  std::vector<std::byte> all;
  for (std::uint64_t at = 0; at < of.size().value() / sector_size; ++at) {
    all.insert(all.end(), of.sector(at).begin(), of.sector(at).end());
  }
  return all;
}

// A cache block n that is even is at origin block n, so that each is copied alone. After a clean
// shutdown it is dirty unless n is a multiple of four.
class interrupted_writeback_test
    : public testing::TestWithParam<std::tuple<std::uint32_t, std::uint32_t>> {
 protected:
  void make(std::uint32_t block_size) {
    superblock block = described_cache(std::get<0>(GetParam()), nr_cache_blocks);
    block.flags = std::get<1>(GetParam());
    block.data_block_size = block_size;
    block_bytes_ = std::uint64_t{block_size} * sector_size;
    cache_contents contents{block};
    fast_ = std::make_unique<memory_device>(bytes{nr_cache_blocks * block_bytes_});
    made_.origin.assign(nr_cache_blocks * block_bytes_, std::byte{});
    for (std::uint64_t n = 0; n < nr_cache_blocks; n += 2) {
      const bool is_dirty = n % 4 != 0;
      ASSERT_FALSE(contents.add({cache_block{n}, origin_block{n}, is_dirty}));
      std::memset(of_fast(n).data(), static_cast<int>(n + 1), block_bytes_);
      if (!is_dirty && block.is_clean()) {
        std::memcpy(of_origin(made_, n).data(), of_fast(n).data(), block_bytes_);
      }
    }
    memory_device metadata{bytes{metadata_blocks * metadata_block_size}};
    progress quiet{true};
    ASSERT_THAT(contents.write(metadata, quiet), succeeds());
    made_.metadata.assign(metadata.contents().begin(), metadata.contents().end());
  }

  std::span<std::byte> of_fast(std::uint64_t n) {
    return fast_->contents().subspan(n * block_bytes_, block_bytes_);
  }
  std::span<std::byte> of_origin(image &in, std::uint64_t n) const {
    return std::span{in.origin}.subspan(n * block_bytes_, block_bytes_);
  }

  static block_set dirty_in(const image &of) {
    memory_device on{of.metadata};
    block_set dirty;
    for (const auto &[block, stored] : sound_on(on).mapped) {
      if (stored.dirty) {
        dirty.insert(block);
      }
    }
    return dirty;
  }

  // No mapping has gone, and what is said to be clean is on the origin.
  void expect_true(image &of) {
    memory_device on{of.metadata};
    const auto mapped = sound_on(on).mapped;
    EXPECT_EQ(mapped.size(), nr_cache_blocks / 2);
    for (const auto &[block, stored] : mapped) {
      EXPECT_EQ(stored.origin, block);
      EXPECT_TRUE(stored.dirty || is_same(of_origin(of, block), of_fast(block))) << block;
    }
  }

  // Writes back, with all devices failing from the change of this number on.
  image after(const image &before, std::uint64_t cut, end how, std::uint64_t seed,
              const writeback_options &options = step_by_step()) {
    std::uint64_t nr_changes = 0;
    const auto is_over = [&](const io_request *request) {
      const bool is_past = nr_changes >= cut;
      nr_changes += request == nullptr || is_write(request) ? 1U : 0U;
      return is_past;
    };
    simulated_device metadata{before.metadata, seed};
    simulated_device origin{before.origin, seed};
    watched_device origin_used{origin, is_over};
    watched_device fast_used{*fast_, is_over};
    report quiet{"test", true};
    const metadata_device described{std::make_unique<watched_device>(metadata, is_over),
                                    read_superblock(metadata).value()};
    done_ = write_back(described, origin_used, fast_used, options, quiet);
    return {contents_of(metadata, how), contents_of(origin, how)};
  }

  std::uint64_t block_bytes_ = 0;
  std::unique_ptr<memory_device> fast_;
  image made_;
  result<> done_;
};

INSTANTIATE_TEST_SUITE_P(versions, interrupted_writeback_test,
                         testing::Combine(testing::Values(1, 2),
                                          testing::Values(0, superblock::clean_shutdown)));

TEST_P(interrupted_writeback_test, at_whatever_instant_nothing_is_lost_and_the_next_run_goes_on) {
  make(min_data_block_size);
  const std::size_t nr_dirty = dirty_in(made_).size();
  for (const end how : {end::killed, end::power_cut}) {
    std::set<std::size_t> left;
    std::uint64_t cut = 0;
    for (done_ = fail(failure::failed, ""); !done_; ++cut) {
      SCOPED_TRACE(cut);
      image interrupted = after(made_, cut, how, cut);
      expect_true(interrupted);
      left.insert(dirty_in(interrupted).size());
      const bool was_done = done_.has_value();
      image finished = after(interrupted, nowhere, how, cut, {.buffer_size = 1});
      EXPECT_THAT(done_, succeeds());
      expect_true(finished);
      EXPECT_EQ(dirty_in(finished), block_set{});
      done_ = was_done ? result<>{} : fail(failure::failed, "");
    }
    EXPECT_EQ(left.size(), nr_dirty + 1); // one by one, down to none
  }
}

TEST_P(interrupted_writeback_test, once_stopped_it_clears_the_flags_of_what_was_under_way) {
  make(min_data_block_size);
  const std::size_t nr_dirty = dirty_in(made_).size();
  unsigned nr_asked = 0;
  writeback_options options{.is_stopped = [&] { return ++nr_asked == 2; }};
  image stopped = after(made_, nowhere, end::power_cut, 0, options);
  EXPECT_THAT(done_, fails_with(failure::failed,
                                fmt::format("stopped: {} dirty blocks are left to copy; the same "
                                            "command goes on there",
                                            nr_dirty - 2)));
  expect_true(stopped);
  EXPECT_EQ(dirty_in(stopped).size(), nr_dirty - 2);

  nr_asked = 0;
  options.update_metadata = false;
  stopped = after(made_, nowhere, end::power_cut, 0, options);
  EXPECT_THAT(done_, fails_with(failure::failed, testing::HasSubstr("begins anew")));
  EXPECT_EQ(stopped.metadata, made_.metadata);
}

TEST_P(interrupted_writeback_test, a_block_that_is_stopped_halfway_stays_dirty) {
  make(2 * 4096); // 4 MiB, copied in pieces
  const image stopped = after(made_, nowhere, end::killed, 0, {.is_stopped = [] { return true; }});
  EXPECT_THAT(done_, fails_with(failure::failed));
  EXPECT_EQ(dirty_in(stopped), dirty_in(made_));
  EXPECT_NE(stopped.origin, made_.origin);
  EXPECT_EQ(stopped.metadata, made_.metadata);
}

TEST_P(interrupted_writeback_test, a_piece_that_failed_before_a_pause_keeps_its_block_dirty) {
  make(2 * 4096);
  watched_device fast{*fast_, [&](const io_request *request) {
                        return touches(request, 6 * block_bytes_, 6 * block_bytes_ + 1);
                      }};
  memory_device origin{made_.origin};
  auto owned = std::make_unique<memory_device>(made_.metadata);
  const memory_device &on = *owned;
  const auto metadata = read_metadata_device(std::move(owned));
  report quiet{"test", true};
  EXPECT_THAT(write_back(*metadata, origin, fast, step_by_step(), quiet),
              fails_with(failure::failed, ""));
  EXPECT_EQ(dirty_in({{on.contents().begin(), on.contents().end()}, {}}), block_set{6});
}

TEST_P(interrupted_writeback_test, a_flush_of_the_origin_that_fails_takes_back_no_earlier_one) {
  make(min_data_block_size);
  const std::size_t nr_dirty = dirty_in(made_).size();
  simulated_device origin_behind{made_.origin};
  unsigned nr_flushes = 0;
  watched_device origin{origin_behind, [&](const io_request *request) {
                          return request == nullptr && ++nr_flushes == 3;
                        }};
  auto owned = std::make_unique<simulated_device>(made_.metadata);
  simulated_device &on = *owned;
  const auto metadata = read_metadata_device(std::move(owned));
  report quiet{"test", true};
  EXPECT_THAT(write_back(*metadata, origin, *fast_, step_by_step(), quiet),
              fails_with(failure::environment,
                         "cannot flush the origin: Input/output error: what was copied may be "
                         "lost, and stays dirty, but for what was marked clean before"));
  image left{on.after_power_cut(), origin_behind.after_power_cut()};
  expect_true(left);
  EXPECT_EQ(dirty_in(left).size(), nr_dirty - 2);
}

TEST_P(interrupted_writeback_test,
       metadata_that_cannot_be_written_end_the_marking_not_the_copying) {
  make(min_data_block_size);
  const std::size_t nr_dirty = dirty_in(made_).size();
  auto behind = std::make_unique<memory_device>(made_.metadata);
  const memory_device &on = *behind;
  unsigned nr_writes_of_superblock = 0;
  const metadata_device metadata{
      std::make_unique<watched_device>(
          *behind,
          [&](const io_request *request) {
            nr_writes_of_superblock +=
                is_write(request) && touches(request, 0, metadata_block_size) ? 1U : 0U;
            return is_write(request) && nr_writes_of_superblock > 2;
          }),
      read_superblock(*behind).value()};
  memory_device origin{made_.origin};
  report quiet{"test", true};
  EXPECT_THAT(write_back(metadata, origin, *fast_, step_by_step(), quiet),
              fails_with(failure::environment,
                         testing::StartsWith(fmt::format("{} of {} copied blocks may still count "
                                                         "as dirty: ",
                                                         nr_dirty - 1, nr_dirty))));
  image left{{on.contents().begin(), on.contents().end()},
             {origin.contents().begin(), origin.contents().end()}};
  expect_true(left);
  EXPECT_EQ(dirty_in(left).size(), nr_dirty - 1);
  for (std::uint64_t n = 2; n < nr_cache_blocks; n += 4) {
    EXPECT_TRUE(is_same(of_origin(left, n), of_fast(n))) << n;
  }
}

} // namespace
} // namespace dmcache
