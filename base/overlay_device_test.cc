#include "base/overlay_device.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "base/aligned_buffer.h"
#include "base/memory_device.h"
#include "base/testing/matchers.h"

namespace dmcache {
namespace {

using operation = io_request::operation;

class overlay_device_test : public testing::Test {
 protected:
  static constexpr std::size_t nr_pages = 8;

  overlay_device_test() { std::ranges::fill(below_.contents(), std::byte{1}); }

  std::error_code write(std::uint64_t page, std::size_t nr, std::byte value) {
    aligned_buffer data{nr * io_alignment};
    std::ranges::fill(data.span(), value);
    return transfer_and_wait(over_, operation::write, bytes{page * io_alignment}, data.span());
  }
  // The first byte of each page.
  std::vector<int> read(std::uint64_t page, std::size_t nr) {
    aligned_buffer data{nr * io_alignment};
    EXPECT_FALSE(
        transfer_and_wait(over_, operation::read, bytes{page * io_alignment}, data.span()));
    std::vector<int> values;
    for (std::size_t i = 0; i < nr; ++i) {
      values.push_back(static_cast<int>(data.span()[i * io_alignment]));
    }
    return values;
  }

  memory_device below_{bytes{nr_pages * io_alignment}};
  overlay_device over_{below_};
};

TEST_F(overlay_device_test, reads_what_was_written_and_what_was_not) {
  EXPECT_THAT(write(2, 2, std::byte{7}), succeeds());
  EXPECT_THAT(write(3, 1, std::byte{8}), succeeds());
  EXPECT_THAT(over_.flush(), succeeds());
  EXPECT_EQ(read(0, nr_pages), (std::vector{1, 1, 7, 8, 1, 1, 1, 1}));
  EXPECT_EQ(read(3, 1), std::vector{8});
}

TEST_F(overlay_device_test, leaves_the_device_as_it_is) {
  EXPECT_THAT(write(0, nr_pages, std::byte{7}), succeeds());
  EXPECT_TRUE(
      std::ranges::all_of(below_.contents(), [](std::byte each) { return each == std::byte{1}; }));
}

TEST_F(overlay_device_test, ends_where_the_device_does) {
  EXPECT_EQ(over_.size(), below_.size());
  EXPECT_THAT(write(nr_pages - 1, 2, std::byte{7}), fails_with(std::errc::io_error));
  EXPECT_THAT(write(nr_pages + 1, 1, std::byte{7}), fails_with(std::errc::io_error));
}

} // namespace
} // namespace dmcache
