#include "base/blocking_file.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/testing/matchers.h"

namespace dmcache {
namespace {

using testing::Each;

constexpr std::size_t file_size = 1 << 18;

class blocking_file_test : public testing::Test {
 protected:
  blocking_file_test() {
    EXPECT_THAT(file.write(bytes{0}, std::vector(file_size, std::byte{7})), succeeds());
  }

  static file_descriptor temporary_file() {
    std::string path = testing::TempDir() + "/blocking_file.XXXXXX";
    file_descriptor made{::mkstemp(path.data())};
    EXPECT_EQ(::unlink(path.c_str()), 0);
    return made;
  }

  std::vector<std::byte> contents(std::size_t offset, std::size_t length) const {
    std::vector<std::byte> found(length);
    EXPECT_THAT(file.read(bytes{offset}, found), succeeds());
    return found;
  }

  file_descriptor opened = temporary_file();
  int number = opened.get();
  blocking_file file{{std::move(opened), bytes{file_size}}};
};

TEST_F(blocking_file_test, reads_what_was_written_at_any_address) {
  std::vector<std::byte> data(5000, std::byte{1});
  EXPECT_THAT(file.write(bytes{1234}, std::span{data}.subspan(1)), succeeds());
  EXPECT_THAT(contents(1234, 4999), Each(std::byte{1}));
  EXPECT_EQ(contents(1233, 1).front(), std::byte{7});
  EXPECT_EQ(contents(1234 + 4999, 1).front(), std::byte{7});
  EXPECT_THAT(file.flush(), succeeds());
}

TEST_F(blocking_file_test, to_read_past_the_end_is_an_error) {
  std::vector<std::byte> into(4096);
  EXPECT_EQ(file.read(bytes{file_size - 512}, into), std::errc::io_error);
}

TEST_F(blocking_file_test, a_part_is_all_there_is) {
  constexpr std::size_t begin = 8192;
  constexpr std::size_t size = 16384;
  const blocking_file part{{file_descriptor{::dup(number)}, bytes{size}, bytes{begin}}};
  const std::vector data(4096, std::byte{1});
  EXPECT_THAT(part.write(bytes{0}, data), succeeds());
  EXPECT_THAT(part.write_zeroes(bytes{size - 4096}, bytes{4096}), succeeds());
  EXPECT_THAT(part.discard(bytes{4096}, bytes{4096}), succeeds());
  for (const std::uint64_t offset : {size - 4095, size, std::uint64_t{0} - 4096}) {
    std::vector<std::byte> into(4096);
    EXPECT_EQ(part.read(bytes{offset}, into), std::errc::io_error) << offset;
    EXPECT_EQ(part.write(bytes{offset}, data), std::errc::io_error) << offset;
    EXPECT_EQ(part.discard(bytes{offset}, bytes{4096}), std::errc::io_error) << offset;
    EXPECT_EQ(part.write_zeroes(bytes{offset}, bytes{4096}), std::errc::io_error) << offset;
  }
  EXPECT_EQ(part.extent_at(bytes{0}).end, bytes{4096});
  EXPECT_EQ(part.extent_at(bytes{4096}).end, bytes{8192});
  EXPECT_TRUE(part.extent_at(bytes{4096}).is_hole);
  EXPECT_THAT(contents(0, begin), Each(std::byte{7}));
  EXPECT_THAT(contents(begin, 4096), Each(std::byte{1}));
  EXPECT_THAT(contents(begin + 4096, 4096), Each(std::byte{0}));
  EXPECT_THAT(contents(begin + 8192, size - 8192 - 4096), Each(std::byte{7}));
  EXPECT_THAT(contents(begin + size - 4096, 4096), Each(std::byte{0}));
  EXPECT_THAT(contents(begin + size, file_size - begin - size), Each(std::byte{7}));
}

TEST_F(blocking_file_test, zeroes_a_range_and_nothing_else) {
  constexpr std::size_t length = 3 * 65536 + 512; // more than is written at a time
  EXPECT_THAT(file.write_zeroes(bytes{512}, bytes{length}), succeeds());
  EXPECT_THAT(contents(512, length), Each(std::byte{0}));
  EXPECT_EQ(contents(511, 1).front(), std::byte{7});
  EXPECT_EQ(contents(512 + length, 1).front(), std::byte{7});
}

TEST_F(blocking_file_test, zeroes_that_may_trim_need_no_room) {
  struct stat before{};
  struct stat after{};
  EXPECT_EQ(::fstat(number, &before), 0);
  EXPECT_THAT(file.write_zeroes(bytes{0}, bytes{file_size / 2}, true), succeeds());
  EXPECT_EQ(::fstat(number, &after), 0);
  EXPECT_LT(after.st_blocks, before.st_blocks);
  EXPECT_THAT(contents(0, file_size / 2), Each(std::byte{0}));
  EXPECT_EQ(contents(file_size / 2, 1).front(), std::byte{7});
}

TEST_F(blocking_file_test, tells_holes_from_data) {
  constexpr std::uint64_t step = file_size / 4;
  const auto expect = [&](std::uint64_t at, std::uint64_t end, bool is_hole) {
    const auto found = file.extent_at(bytes{at});
    EXPECT_EQ(found.is_hole, is_hole) << at;
    EXPECT_EQ(std::min(found.end, bytes{file_size}), bytes{end}) << at;
  };
  EXPECT_THAT(file.discard(bytes{step}, bytes{step}), succeeds());
  EXPECT_THAT(file.discard(bytes{3 * step}, bytes{step}), succeeds());
  expect(0, step, false);
  expect(step - 1, step, false);
  expect(step, 2 * step, true);
  expect(step + 1, 2 * step, true);
  expect(2 * step, 3 * step, false);
  expect(3 * step, file_size, true);
  EXPECT_THAT(file.write(bytes{file_size - 1}, std::vector(1, std::byte{1})), succeeds());
  EXPECT_FALSE(file.extent_at(bytes{file_size - 1}).is_hole);
}

TEST_F(blocking_file_test, discarding_keeps_the_size_and_what_is_around) {
  EXPECT_THAT(file.discard(bytes{file_size / 2}, bytes{file_size / 2}), succeeds());
  struct stat status{};
  EXPECT_EQ(::fstat(number, &status), 0);
  EXPECT_EQ(status.st_size, file_size);
  EXPECT_THAT(contents(0, file_size / 2), Each(std::byte{7}));
}

TEST_F(blocking_file_test, a_discard_of_nothing_sensible_does_no_harm) {
  EXPECT_THAT(file.discard(bytes{512}, bytes{0}), succeeds());
  EXPECT_THAT(contents(0, file_size), Each(std::byte{7}));
}

TEST_F(blocking_file_test, a_full_file_is_an_error) {
  const auto before = std::signal(SIGXFSZ, SIG_IGN);
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &limit), 0);
  const rlimit small{file_size - 4096, limit.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::vector data(8192, std::byte{1});
  EXPECT_EQ(file.write(bytes{file_size - 8192}, data), std::errc::file_too_large);
  EXPECT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  EXPECT_NE(std::signal(SIGXFSZ, before), SIG_ERR);
}

} // namespace
} // namespace dmcache
