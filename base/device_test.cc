// The promises of device.h, held by the file and the memory device alike; and the faults of the
// faulty one.

#include "base/device.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <map>
#include <vector>

#include <gtest/gtest.h>

#include "base/aligned_buffer.h"
#include "base/file_device.h"
#include "base/memory_device.h"
#include "base/testing/faulty_device.h"
#include "base/testing/matchers.h"

namespace dmcache {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t nr_units = 300; // more than any queue takes at once

class recorder final : public io_listener {
 public:
  void io_done(std::uint64_t tag, std::error_code error) override { ended.emplace(tag, error); }
  std::map<std::uint64_t, std::error_code> ended;
};

std::error_code outcome_of(device &on, io_request request) {
  recorder its;
  request.listener = &its;
  on.submit({&request, 1});
  while (its.ended.empty()) {
    on.wait();
  }
  return its.ended.at(request.tag);
}

class device_test : public testing::TestWithParam<bool> {
 protected:
  device_test() {
    if (GetParam()) {
      path_ = fs::temp_directory_path() / ("device_test." + std::to_string(::getpid()));
      std::ofstream{path_}.close();
      fs::resize_file(path_, nr_units * io_alignment);
      device_ = open_file_device({path_}, access::read_write).value();
    } else {
      device_ = std::make_unique<memory_device>(bytes{nr_units * io_alignment});
    }
  }
  ~device_test() override {
    if (!path_.empty()) {
      fs::remove(path_);
    }
  }

  void transfer_all(io_request::operation op) {
    recorder all;
    std::vector<io_request> requests;
    requests.reserve(nr_units);
    for (std::size_t i = 0; i < nr_units; ++i) {
      requests.push_back({op, bytes{i * io_alignment},
                          buffer_.span().subspan(i * io_alignment, io_alignment), &all, i});
    }
    device_->submit(requests);
    while (all.ended.size() < nr_units) {
      device_->wait();
    }
    EXPECT_TRUE(std::ranges::all_of(all.ended, [](const auto &each) { return !each.second; }));
  }

  fs::path path_;
  std::unique_ptr<device> device_;
  aligned_buffer buffer_{nr_units * io_alignment};
};

TEST_P(device_test, reads_back_what_was_written_with_many_in_flight) {
  for (std::size_t i = 0; i < buffer_.span().size(); ++i) {
    buffer_.span()[i] = static_cast<std::byte>(i / io_alignment * 7 + i);
  }
  const std::vector<std::byte> written{buffer_.span().begin(), buffer_.span().end()};
  transfer_all(io_request::operation::write);
  EXPECT_THAT(device_->flush(), succeeds());
  std::ranges::fill(buffer_.span(), std::byte{0});
  transfer_all(io_request::operation::read);
  EXPECT_TRUE(std::ranges::equal(buffer_.span(), written));
}

TEST_P(device_test, reading_past_the_end_is_an_error) {
  EXPECT_THAT(transfer_and_wait(*device_, io_request::operation::read,
                                bytes{nr_units * io_alignment}, buffer_.span().first(io_alignment)),
              fails_with(std::errc::io_error));
}

TEST_P(device_test, zeroes_discards_and_flushes_by_requests) {
  std::ranges::fill(buffer_.span(), std::byte{1});
  transfer_all(io_request::operation::write);
  recorder all;
  const std::array<io_request, 3> requests{{
      {io_request::operation::write_zeroes,
       bytes{sector_size},
       {},
       &all,
       0,
       bytes{10 * sector_size}},
      {io_request::operation::discard, bytes{20 * sector_size}, {}, &all, 1, bytes{sector_size}},
      {io_request::operation::flush, {}, {}, &all, 2},
  }};
  device_->submit(requests);
  while (all.ended.size() < requests.size()) {
    device_->wait();
  }
  EXPECT_TRUE(std::ranges::all_of(all.ended, [](const auto &each) { return !each.second; }));
  transfer_all(io_request::operation::read);
  for (std::size_t sector = 0; sector < 30; ++sector) {
    const auto found = buffer_.span()[sector * sector_size];
    EXPECT_EQ(found, (sector > 0 && sector < 11) || sector == 20 ? std::byte{0} : std::byte{1});
  }
  EXPECT_TRUE(device_->can_discard());
}

INSTANTIATE_TEST_SUITE_P(file_and_memory, device_test, testing::Bool(),
                         [](const auto &of) { return of.param ? "file" : "memory"; });

class file_device_test : public testing::Test {
 protected:
  file_device_test() {
    path_ = fs::temp_directory_path() / ("file_device_test." + std::to_string(::getpid()));
    std::ofstream{path_}.close();
    fs::resize_file(path_, io_alignment);
  }
  ~file_device_test() override { fs::remove(path_); }

  static std::string message(const std::string &path, access mode) {
    const auto opened = open_file_device(path, mode);
    return opened ? "opened" : opened.error().message;
  }

  fs::path path_;
};

TEST_F(file_device_test, a_missing_file_is_named) {
  EXPECT_EQ(message("/missing", access::read_only), "Couldn't find input file: /missing");
}

TEST_F(file_device_test, a_directory_is_refused) {
  EXPECT_EQ(message("/", access::read_only), "Not a block device or regular file: /");
}

TEST_F(file_device_test, readers_share_a_file) {
  const auto first = open_file_device({path_}, access::read_only);
  ASSERT_THAT(first, succeeds());
  EXPECT_EQ(message(path_, access::read_only), "opened");
}

TEST_F(file_device_test, a_writer_keeps_all_others_out) {
  const auto first = open_file_device({path_}, access::read_write);
  ASSERT_THAT(first, succeeds());
  EXPECT_NE(message(path_, access::read_only).find("is in use"), std::string::npos);
  EXPECT_NE(message(path_, access::read_write).find("is in use"), std::string::npos);
}

TEST(faulty_device, fails_just_the_range_it_was_told_to) {
  memory_device memory{bytes{4 * io_alignment}};
  faulty_device faulty{memory};
  faulty.fail_reads(bytes{io_alignment}, bytes{2 * io_alignment});
  faulty.fail_writes(bytes{2 * io_alignment}, bytes{3 * io_alignment});
  aligned_buffer buffer{io_alignment};
  const auto outcome = [&](io_request::operation op, std::uint64_t unit) {
    return transfer_and_wait(faulty, op, bytes{unit * io_alignment}, buffer.span());
  };
  EXPECT_THAT(outcome(io_request::operation::read, 0), succeeds());
  EXPECT_THAT(outcome(io_request::operation::read, 1), fails_with(std::errc::io_error));
  EXPECT_THAT(outcome(io_request::operation::write, 1), succeeds());
  EXPECT_THAT(outcome(io_request::operation::read, 2), succeeds());
  EXPECT_THAT(outcome(io_request::operation::write, 2), fails_with(std::errc::io_error));
  EXPECT_THAT(faulty.flush(), succeeds());
  EXPECT_THAT(outcome_of(faulty, {io_request::operation::flush, {}, {}, nullptr, 0}), succeeds());
  faulty.fail_flushes();
  EXPECT_THAT(faulty.flush(), fails_with(std::errc::io_error));
  EXPECT_THAT(outcome_of(faulty, {io_request::operation::flush, {}, {}, nullptr, 0}),
              fails_with(std::errc::io_error));
  EXPECT_THAT(outcome_of(faulty, {io_request::operation::discard,
                                  bytes{io_alignment},
                                  {},
                                  nullptr,
                                  0,
                                  bytes{2 * io_alignment}}),
              fails_with(std::errc::io_error));
}

} // namespace
} // namespace dmcache
