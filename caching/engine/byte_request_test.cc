#include "caching/engine/byte_request.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dmcache {
namespace {

using operation = request::operation;
using testing::Each;
using testing::ElementsAre;

class byte_request_test : public testing::Test {
 protected:
  static constexpr std::uint64_t size = 8 * sector_size;

  byte_request_test() {
    for (std::size_t i = 0; i < disk.size(); ++i) {
      disk[i] = std::byte(i % 251);
    }
  }

  // Carries it out on `disk`, and notes what that took.
  std::error_code carry_out(operation op, std::uint64_t offset, std::uint64_t length,
                            std::span<std::byte> data = {}) {
    request wanted;
    wanted.op = op;
    wanted.fua = true;
    wanted.offset = bytes{offset};
    wanted.length = bytes{length};
    wanted.data = data;
    byte_request asked{wanted, bytes{size}};
    steps.clear();
    while (const request *next = asked.next()) {
      const auto at = disk.begin() + static_cast<std::ptrdiff_t>(next->offset.value());
      const auto length_of_step = static_cast<std::ptrdiff_t>(next->length.value());
      const bool has_failed = steps.size() == failing;
      if (next->op == operation::read && !has_failed) {
        std::copy(at, at + length_of_step, next->data.begin());
      } else if (next->op == operation::write && !has_failed) {
        std::ranges::copy(next->data, at);
      } else if (!has_failed) {
        std::fill(at, at + length_of_step, std::byte{0});
      }
      steps.push_back({next->op, next->fua, next->offset.value() / sector_size,
                       next->length.value() / sector_size,
                       asked.locked() ? asked.locked()->value() : no_sector});
      asked.ended(has_failed ? io_error() : std::error_code{});
    }
    EXPECT_EQ(asked.locked(), std::nullopt);
    return asked.outcome();
  }

  struct step {
    operation op;
    bool fua;
    std::uint64_t at;
    std::uint64_t length;
    std::uint64_t locked;
    bool operator==(const step &) const = default;
  };
  static constexpr std::uint64_t no_sector = ~std::uint64_t{0};

  std::vector<std::byte> disk = std::vector<std::byte>(size);
  std::vector<step> steps;
  std::size_t failing = ~std::size_t{0}; // which of the steps
};

TEST_F(byte_request_test, every_range_is_written_and_nothing_beside_it) {
  for (std::uint64_t offset : {0U, 1U, 511U, 512U, 513U, 1023U}) {
    for (std::uint64_t length : {1U, 2U, 510U, 511U, 512U, 513U, 1024U, 1025U, 1600U}) {
      std::vector<std::byte> expected = disk;
      std::vector<std::byte> data(length);
      std::iota(reinterpret_cast<unsigned char *>(data.data()),
                reinterpret_cast<unsigned char *>(data.data()) + length, std::uint8_t{7});
      std::ranges::copy(data, expected.begin() + static_cast<std::ptrdiff_t>(offset));
      EXPECT_EQ(carry_out(operation::write, offset, length, data), std::error_code{});
      ASSERT_EQ(disk, expected) << offset << ", " << length;
      std::vector<std::byte> found(length);
      EXPECT_EQ(carry_out(operation::read, offset, length, found), std::error_code{});
      ASSERT_EQ(found, data) << offset << ", " << length;
      std::fill_n(expected.begin() + static_cast<std::ptrdiff_t>(offset), length, std::byte{0});
      EXPECT_EQ(carry_out(operation::write_zeroes, offset, length), std::error_code{});
      ASSERT_EQ(disk, expected) << offset << ", " << length;
    }
  }
}

TEST_F(byte_request_test, a_sector_is_locked_from_reading_it_until_it_is_written) {
  std::vector<std::byte> data(2 * sector_size);
  EXPECT_EQ(carry_out(operation::write, 700, 1024, data), std::error_code{});
  EXPECT_THAT(steps, ElementsAre(step{operation::read, false, 1, 1, 1},
                                 step{operation::write, true, 1, 1, 1},
                                 step{operation::write, true, 2, 1, no_sector},
                                 step{operation::read, false, 3, 1, 3},
                                 step{operation::write, true, 3, 1, 3}));
}

TEST_F(byte_request_test, a_read_takes_the_sectors_around_it) {
  std::vector<std::byte> data(2);
  EXPECT_EQ(carry_out(operation::read, 511, 2, data), std::error_code{});
  EXPECT_THAT(steps, ElementsAre(step{operation::read, true, 0, 2, no_sector}));
}

TEST_F(byte_request_test, a_discard_leaves_sectors_alone_that_it_covers_in_part) {
  EXPECT_EQ(carry_out(operation::discard, 1, 1535), std::error_code{});
  EXPECT_THAT(steps, ElementsAre(step{operation::discard, true, 1, 2, no_sector}));
  EXPECT_EQ(carry_out(operation::discard, 1, 1022), std::error_code{});
  EXPECT_THAT(steps, ElementsAre());
}

TEST_F(byte_request_test, a_step_that_fails_is_the_last_one) {
  std::vector<std::byte> data(2 * sector_size);
  for (std::size_t i = 0; i < 5; ++i) {
    failing = i;
    EXPECT_EQ(carry_out(operation::write, 700, 1024, data), io_error());
    EXPECT_EQ(steps.size(), i + 1);
  }
}

TEST_F(byte_request_test, what_does_not_lie_within_the_origin_is_refused) {
  std::vector<std::byte> data(2);
  const auto invalid = std::make_error_code(std::errc::invalid_argument);
  EXPECT_EQ(carry_out(operation::write, size - 1, 2, data), invalid);
  EXPECT_EQ(carry_out(operation::write, ~std::uint64_t{0}, 2, data), invalid);
  EXPECT_EQ(carry_out(operation::read, 1, 0), invalid);
  EXPECT_THAT(steps, ElementsAre());
  EXPECT_EQ(carry_out(operation::write, size - 2, 2, data), std::error_code{});
}

TEST(sector_locks_test, only_writes_to_a_locked_sector_have_to_wait) {
  sector_locks locks;
  request asked;
  asked.op = operation::write;
  asked.offset = bytes{3 * sector_size};
  asked.length = bytes{2 * sector_size};
  for (std::uint64_t sector = 2; sector <= 5; ++sector) {
    locks.lock(sectors{sector});
    EXPECT_TRUE(locks.is_locked(sectors{sector}));
    asked.op = operation::write;
    EXPECT_EQ(locks.are_in_the_way_of(asked), sector == 3 || sector == 4) << sector;
    asked.op = operation::read;
    EXPECT_FALSE(locks.are_in_the_way_of(asked));
    locks.unlock(sectors{sector});
    EXPECT_FALSE(locks.is_locked(sectors{sector}));
  }
}

} // namespace
} // namespace dmcache
