#include "base/testing/simulated_device.h"

#include <algorithm>
#include <array>
#include <set>

#include <gtest/gtest.h>

#include "base/testing/matchers.h"

namespace dmcache {
namespace {

using operation = io_request::operation;

constexpr std::uint64_t nr_sectors = 64;

class simulated_device_test : public testing::Test {
 protected:
  void fill(std::uint64_t first, std::uint64_t count, int value) {
    std::vector<std::byte> data(count * sector_size, static_cast<std::byte>(value));
    EXPECT_THAT(on.transfer(operation::write, at(first), bytes{data.size()}, data), succeeds());
  }
  int value_of(std::uint64_t sector) const { return static_cast<int>(on.sector(sector)[0]); }
  std::set<int> values_of(std::uint64_t first, std::uint64_t count) const {
    std::set<int> found;
    for (std::uint64_t i = 0; i < count; ++i) {
      found.insert(value_of(first + i));
    }
    return found;
  }
  static bytes at(std::uint64_t sector) { return to_bytes(sectors{sector}); }

  simulated_device on{to_bytes(sectors{nr_sectors}), {}, 1};
};

TEST_F(simulated_device_test, what_is_written_is_read_at_once) {
  fill(3, 2, 7);
  std::array<std::byte, 4 * sector_size> found{};
  EXPECT_THAT(on.transfer(operation::read, at(2), bytes{found.size()}, found), succeeds());
  EXPECT_EQ(found[0], std::byte{0});
  EXPECT_EQ(found[sector_size], std::byte{7});
  EXPECT_EQ(found[3 * sector_size - 1], std::byte{7});
  EXPECT_EQ(found[3 * sector_size], std::byte{0});
}

TEST_F(simulated_device_test, a_power_cut_tears_what_was_not_flushed) {
  fill(0, nr_sectors, 1);
  EXPECT_THAT(on.flush(), succeeds());
  std::set<int> seen;
  for (int i = 0; i < 20; ++i) {
    fill(0, 32, 2);
    on.power_cycle();
    seen.merge(values_of(0, 32));
    EXPECT_EQ(values_of(32, 32), (std::set{1}));
  }
  EXPECT_EQ(seen, (std::set{1, 2}));
}

TEST_F(simulated_device_test, what_was_flushed_survives) {
  fill(0, nr_sectors, 1);
  EXPECT_THAT(on.flush(), succeeds());
  on.power_cycle();
  EXPECT_EQ(values_of(0, nr_sectors), (std::set{1}));
}

TEST_F(simulated_device_test, of_several_contents_each_can_be_left) {
  std::set<int> left;
  for (int i = 0; i < 20; ++i) {
    fill(0, nr_sectors, 1);
    EXPECT_THAT(on.flush(), succeeds());
    fill(0, nr_sectors, 2);
    fill(0, nr_sectors, 3);
    on.power_cycle();
    left.merge(values_of(0, nr_sectors));
  }
  EXPECT_EQ(left, (std::set{1, 2, 3}));
}

TEST_F(simulated_device_test, a_flush_covers_what_was_written_before_it_began) {
  bool was_lost = false;
  for (int i = 0; i < 20; ++i) {
    fill(0, 2, 1);
    EXPECT_THAT(on.flush(), succeeds());
    fill(0, 1, 2);
    const std::uint64_t flush = on.begin_flush();
    fill(1, 1, 2);
    EXPECT_THAT(on.end_flush(flush), succeeds());
    on.power_cycle();
    EXPECT_EQ(value_of(0), 2);
    was_lost = was_lost || value_of(1) == 1;
  }
  EXPECT_TRUE(was_lost);
}

TEST_F(simulated_device_test, a_flush_covers_what_earlier_ones_under_way_do) {
  for (int i = 1; i < 20; ++i) {
    fill(0, 4, i);
    on.begin_flush();
    fill(1, 1, i + 1);
    EXPECT_THAT(on.end_flush(on.begin_flush()), succeeds());
    on.power_cycle();
    EXPECT_EQ(value_of(0), i);
    EXPECT_EQ(value_of(1), i + 1);
  }
}

TEST_F(simulated_device_test, what_is_overwritten_during_a_flush_is_not_covered) {
  std::set<int> left;
  for (int i = 0; i < 20; ++i) {
    fill(0, 1, 1);
    const std::uint64_t flush = on.begin_flush();
    fill(0, 1, 2);
    EXPECT_THAT(on.end_flush(flush), succeeds());
    on.power_cycle();
    left.insert(value_of(0));
  }
  EXPECT_EQ(left, (std::set{1, 2}));
}

TEST_F(simulated_device_test, a_failed_flush_can_be_made_good_by_the_next_one) {
  fill(0, nr_sectors, 1);
  on.add_fault({.op = operation::flush, .at_most = 1});
  EXPECT_THAT(on.flush(), fails_with(std::errc::io_error));
  EXPECT_THAT(on.flush(), succeeds());
  on.power_cycle();
  EXPECT_EQ(values_of(0, nr_sectors), (std::set{1}));
}

TEST_F(simulated_device_test, or_not_where_a_failed_flush_loses) {
  simulated_device losing{to_bytes(sectors{64}), {.failed_flush_loses = true}, 1};
  std::vector<std::byte> data(nr_sectors * sector_size, std::byte{1});
  EXPECT_THAT(losing.transfer(operation::write, bytes{0}, bytes{data.size()}, data), succeeds());
  losing.add_fault({.op = operation::flush, .at_most = 1});
  EXPECT_THAT(losing.flush(), fails_with(std::errc::io_error));
  EXPECT_THAT(losing.flush(), succeeds());
  EXPECT_EQ(losing.sector(0)[0], std::byte{1});
  const std::vector<std::byte> left = losing.after_power_cut();
  EXPECT_NE(std::ranges::count(left, std::byte{0}), 0);
}

TEST_F(simulated_device_test, faults_hit_their_kind_and_range) {
  on.add_fault({.op = operation::write, .begin = at(4), .end = at(8)});
  std::vector<std::byte> data(2 * sector_size);
  const bytes length{data.size()};
  EXPECT_THAT(on.transfer(operation::write, at(2), length, data), succeeds());
  EXPECT_THAT(on.transfer(operation::write, at(3), length, data), fails_with(std::errc::io_error));
  EXPECT_THAT(on.transfer(operation::write, at(7), length, data), fails_with(std::errc::io_error));
  EXPECT_THAT(on.transfer(operation::write, at(8), length, data), succeeds());
  EXPECT_THAT(on.transfer(operation::read, at(4), length, data), succeeds());
  EXPECT_EQ(on.nr_failed(), 2U);
  on.clear_faults();
  EXPECT_THAT(on.transfer(operation::write, at(4), length, data), succeeds());
}

TEST_F(simulated_device_test, without_power_nothing_works) {
  on.cut_power_at(1);
  std::vector<std::byte> data(sector_size);
  EXPECT_THAT(on.transfer(operation::write, at(0), bytes{data.size()}, data), succeeds());
  EXPECT_THAT(on.flush(), fails_with(std::errc::io_error));
  EXPECT_FALSE(on.has_power());
  EXPECT_THAT(transfer_and_wait(on, operation::read, at(0), data), fails_with(std::errc::io_error));
  on.power_cycle();
  EXPECT_THAT(transfer_and_wait(on, operation::read, at(0), data), succeeds());
}

TEST_F(simulated_device_test, zeroes_and_discards) {
  fill(0, 64, 1);
  EXPECT_THAT(on.transfer(operation::write_zeroes, at(0), at(8), {}), succeeds());
  EXPECT_THAT(on.transfer(operation::discard, at(8), at(32), {}), succeeds());
  EXPECT_EQ(values_of(0, 8), (std::set{0}));
  EXPECT_EQ(values_of(8, 32), (std::set{0, 1}));
  EXPECT_EQ(values_of(40, 24), (std::set{1}));
}

TEST_F(simulated_device_test, what_is_added_is_zero) {
  fill(0, nr_sectors, 1);
  on.resize(at(32));
  on.resize(at(64));
  EXPECT_EQ(values_of(0, 32), (std::set{1}));
  EXPECT_EQ(values_of(32, 32), (std::set{0}));
}

TEST_F(simulated_device_test, of_a_sector_only_its_start_may_be_kept) {
  simulated_device sparing{to_bytes(sectors{4}), {.kept_per_sector = 16}, 1};
  std::vector<std::byte> data(2 * sector_size, std::byte{5});
  EXPECT_THAT(transfer_and_wait(sparing, operation::write, at(1), data), succeeds());
  std::ranges::fill(data, std::byte{9});
  EXPECT_THAT(transfer_and_wait(sparing, operation::read, at(2), data), succeeds());
  EXPECT_EQ(data[0], std::byte{5});
  EXPECT_EQ(data[15], std::byte{5});
  EXPECT_EQ(data[16], std::byte{9});
  EXPECT_EQ(data[sector_size], std::byte{0});
}

TEST_F(simulated_device_test, ends_requests_in_any_order) {
  struct noting final : io_listener {
    void io_done(std::uint64_t tag, std::error_code /*error*/) override { ended.push_back(tag); }
    std::vector<std::uint64_t> ended;
  } listener;
  std::vector<std::byte> data(sector_size);
  for (std::uint64_t i = 0; i < 16; ++i) {
    const io_request request{operation::write, at(i), data, &listener, i};
    on.submit({&request, 1});
  }
  while (listener.ended.size() < 16) {
    on.wait();
  }
  EXPECT_FALSE(std::ranges::is_sorted(listener.ended));
}

} // namespace
} // namespace dmcache
