// Parts of files: what is beyond them is neither read nor written, and parts of one file share its
// lock.

#include "base/opened_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/aligned_buffer.h"
#include "base/file_device.h"
#include "base/testing/matchers.h"

namespace dmcache {
namespace {

namespace fs = std::filesystem;
using operation = io_request::operation;

constexpr std::uint64_t unit = io_alignment;
constexpr std::uint64_t nr_letters = 16;

class opened_file_test : public testing::Test {
 protected:
  opened_file_test() { std::ofstream{path_} << std::string(nr_letters * unit, 'x'); }
  ~opened_file_test() override { fs::remove(path_); }

  device_part part(std::uint64_t begin, std::uint64_t length) const {
    return {path_, bytes{begin * unit}, bytes{length * unit}};
  }
  // What the file holds, a letter for each unit; '?' for one that isn't the same all over.
  std::string contents() const {
    std::string letters;
    std::string data(unit, 0);
    for (std::ifstream file{path_, std::ios::binary}; file.read(data.data(), unit);) {
      const bool is_even = data.find_first_not_of(data.front()) == std::string::npos;
      letters += is_even ? data.front() : '?';
    }
    return letters;
  }
  static std::error_code write(device &to, std::uint64_t at, std::uint64_t length, char letter) {
    aligned_buffer buffer{length * unit};
    std::ranges::fill(buffer.span(), static_cast<std::byte>(letter));
    return transfer_and_wait(to, operation::write, bytes{at * unit}, buffer.span());
  }
  std::string refusal(const device_part &wanted) const {
    const auto opened = open_file(wanted, access::read_write);
    return opened ? "none" : opened.error().message;
  }

  std::string path_ =
      fs::temp_directory_path() / ("opened_file_test." + std::to_string(::getpid()));
};

TEST_F(opened_file_test, nothing_beyond_a_part_is_written) {
  const auto on = open_file_device(part(4, 8), access::read_write).value();
  EXPECT_EQ(on->size(), bytes{8 * unit});
  EXPECT_THAT(write(*on, 0, 1, 'a'), succeeds());
  EXPECT_THAT(write(*on, 7, 1, 'b'), succeeds());
  for (const std::uint64_t at : {std::uint64_t{7}, std::uint64_t{8}, std::uint64_t{0} - 1}) {
    EXPECT_THAT(write(*on, at, 2, 'c'), fails_with(std::errc::io_error)) << at;
  }
  EXPECT_EQ(contents(), "xxxxaxxxxxxbxxxx");
}

TEST_F(opened_file_test, nothing_beyond_a_part_is_read) {
  const auto on = open_file_device(part(4, 8), access::read_only).value();
  aligned_buffer buffer{2 * unit};
  EXPECT_THAT(transfer_and_wait(*on, operation::read, bytes{6 * unit}, buffer.span()), succeeds());
  EXPECT_THAT(transfer_and_wait(*on, operation::read, bytes{7 * unit}, buffer.span()),
              fails_with(std::errc::io_error));
}

// Whether discarding works is found out where nothing is.
TEST_F(opened_file_test, asking_about_discards_keeps_what_is_behind_a_part) {
  const auto opened = open_file(part(0, 4), access::read_write);
  ASSERT_THAT(opened, succeeds());
  opened->can_discard();
  EXPECT_EQ(opened->logical_block_size() % sector_size, 0U);
  EXPECT_EQ(contents(), std::string(nr_letters, 'x'));
}

TEST_F(opened_file_test, without_a_size_a_part_reaches_to_the_end) {
  const auto opened = open_file({path_, bytes{5 * unit}}, access::read_only);
  ASSERT_THAT(opened, succeeds());
  EXPECT_EQ(opened->size, bytes{(nr_letters - 5) * unit});
}

TEST_F(opened_file_test, a_part_that_is_not_there_is_refused) {
  EXPECT_EQ(refusal(part(4, 12)), "none");
  EXPECT_EQ(refusal(part(4, 13)), path_ + " has 128 sectors, and the 104 sectors from sector 32 on "
                                          "reach beyond its end: correct the offset or the size");
  EXPECT_EQ(refusal({path_, bytes{nr_letters * unit}}),
            path_ + " has 128 sectors, and nothing of it is left from sector 128 on: correct the "
                    "offset or the size");
  EXPECT_NE(refusal(part(17, 1)), "none");
  EXPECT_NE(refusal(part(0, 0)), "none");
  EXPECT_NE(refusal({path_, bytes{~std::uint64_t{511}}, bytes{1024}}), "none");
  EXPECT_NE(refusal({path_, bytes{512}, bytes{~std::uint64_t{511}}}), "none");
}

TEST_F(opened_file_test, parts_of_one_file_share_a_lock_that_keeps_others_out) {
  auto opened = open_files(std::array{part_to_open{part(0, 4), access::read_only},
                                      part_to_open{part(4, 4), access::read_write},
                                      part_to_open{part(8, 8), access::read_write}});
  ASSERT_THAT(opened, succeeds());
  EXPECT_TRUE(is_in_use(path_, access::read_only));
  std::vector<std::unique_ptr<device>> devices;
  for (opened_file &each : *opened) {
    devices.push_back(make_file_device(std::move(each)));
  }
  EXPECT_THAT(write(*devices[1], 0, 4, 'a'), succeeds());
  EXPECT_THAT(write(*devices[2], 0, 1, 'b'), succeeds());
  EXPECT_THAT(devices[1]->flush(), succeeds());
  EXPECT_EQ(contents(), "xxxxaaaabxxxxxxx");
  devices.erase(devices.begin(), devices.begin() + 2); // the first of all was the one to lock it
  EXPECT_TRUE(is_in_use(path_, access::read_only));
  devices.clear();
  EXPECT_FALSE(is_in_use(path_, access::read_write));
}

TEST_F(opened_file_test, what_is_only_read_of_a_file_can_be_read_by_others) {
  const auto opened = open_files(std::array{part_to_open{part(0, 4), access::read_only},
                                            part_to_open{part(4, 4), access::read_only}});
  ASSERT_THAT(opened, succeeds());
  EXPECT_FALSE(is_in_use(path_, access::read_only));
  EXPECT_TRUE(is_in_use(path_, access::read_write));
}

TEST_F(opened_file_test, a_duplicate_is_of_the_same_part_under_the_same_lock) {
  auto opened = open_files(std::array{part_to_open{part(0, 4), access::read_write},
                                      part_to_open{part(4, 4), access::read_write}});
  ASSERT_THAT(opened, succeeds());
  opened_file same = opened->back().duplicate();
  opened->clear();
  EXPECT_TRUE(is_in_use(path_, access::read_write));
  EXPECT_THAT(write(*make_file_device(std::move(same)), 0, 1, 'a'), succeeds());
  EXPECT_EQ(contents(), "xxxxaxxxxxxxxxxx");
}

// What one does about the page cache is its own affair.
TEST_F(opened_file_test, parts_are_opened_each_for_itself) {
  const auto opened = open_files(std::array{part_to_open{part(0, 4), access::read_write},
                                            part_to_open{part(4, 4), access::read_write}});
  ASSERT_THAT(opened, succeeds());
  const auto flags = [&](std::size_t index) {
    return ::fcntl((*opened)[index].file.get(), F_GETFL);
  };
  const int before = flags(0);
  ASSERT_EQ(::fcntl((*opened)[1].file.get(), F_SETFL, flags(1) | O_APPEND), 0);
  EXPECT_EQ(flags(0), before);
}

} // namespace
} // namespace dmcache
