// A cache on real files, through the whole engine.

#include "caching/runtime/file_runtime.h"

#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include <gmock/gmock.h>

#include "base/aligned_buffer.h"
#include "base/testing/matchers.h"

namespace dmcache {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using operation = request::operation;

constexpr std::uint64_t block_size = 64 << 10;
constexpr std::uint64_t nr_cache_blocks = 16;
constexpr std::uint64_t nr_origin_blocks = 64;

class file_runtime_test : public testing::Test {
 protected:
  file_runtime_test() {
    options_.block_size = sectors{block_size / sector_size};
    fs::create_directory(folder_);
    make_file(paths_.metadata.path, 1 << 20);
    make_file(paths_.fast.path, nr_cache_blocks * block_size);
    make_file(paths_.origin.path, nr_origin_blocks * block_size);
  }
  ~file_runtime_test() override {
    runtime_.reset();
    fs::remove_all(folder_);
  }

  static void make_file(const std::string &path, std::uint64_t size) {
    std::ofstream{path}.close();
    fs::resize_file(path, size);
  }

  std::string why_not(const cache_paths &paths) {
    auto opened = file_runtime::open(paths, options_, [](request &) {});
    return opened ? "opened" : opened.error().message;
  }

  void open() {
    auto opened = file_runtime::open(paths_, options_,
                                     [this](request &done) { completed_.push_back(&done); });
    ASSERT_THAT(opened, succeeds());
    runtime_ = std::move(*opened);
  }
  // As a power cut does, without the loss of what was written.
  void kill() { runtime_.reset(); }
  void close() {
    EXPECT_THAT(runtime_->close(), succeeds());
    runtime_.reset();
  }

  std::error_code carry_out(operation op, std::uint64_t offset, std::uint64_t length,
                            std::span<std::byte> data = {}) {
    request wanted;
    wanted.op = op;
    wanted.offset = bytes{offset};
    wanted.length = bytes{length};
    wanted.data = data;
    runtime_->submit(wanted);
    runtime_->run_until([&] { return std::ranges::count(completed_, &wanted) != 0; });
    std::erase(completed_, &wanted);
    return wanted.outcome;
  }
  void write(std::uint64_t offset, std::uint64_t length, int value) {
    aligned_buffer buffer{block_size};
    std::ranges::fill(buffer.span(), static_cast<std::byte>(value));
    EXPECT_THAT(carry_out(operation::write, offset, length, buffer.span().first(length)),
                succeeds());
  }
  // -1: not everywhere the same.
  int read(std::uint64_t offset, std::uint64_t length) {
    aligned_buffer buffer{block_size};
    const auto data = buffer.span().first(length);
    EXPECT_THAT(carry_out(operation::read, offset, length, data), succeeds());
    const bool is_even = std::ranges::all_of(data, [&](std::byte each) { return each == data[0]; });
    return is_even ? static_cast<int>(data[0]) : -1;
  }
  // Written whole, so that they are promoted, and dirty.
  void write_blocks(std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
      write(i * block_size, block_size, static_cast<int>(i + 1));
    }
  }
  engine_status status() const { return runtime_->engine().status(); }

  fs::path folder_ = fs::temp_directory_path() / ("file_runtime." + std::to_string(::getpid()));
  cache_paths paths_{{folder_ / "metadata"}, {folder_ / "fast"}, {folder_ / "origin"}};
  engine_options options_;
  std::unique_ptr<file_runtime> runtime_;
  std::vector<request *> completed_;
};

TEST_F(file_runtime_test, reads_back_what_was_written_cached_or_not) {
  open();
  write_blocks(3);
  write(40 * block_size + 512, 1024, 40);
  EXPECT_EQ(status().cache_used, 3U);
  EXPECT_EQ(read(block_size, block_size), 2);
  EXPECT_EQ(read(40 * block_size + 1024, 512), 40);
  EXPECT_EQ(read(40 * block_size, 1024), -1);
  EXPECT_EQ(read(50 * block_size, 4096), 0);
}

TEST_F(file_runtime_test, zeroes_discards_and_flushes) {
  open();
  write_blocks(1);
  write(40 * block_size, block_size, 40);
  for (const std::uint64_t block : {0U, 40U}) {
    EXPECT_THAT(carry_out(operation::write_zeroes, block * block_size + 512, 512), succeeds());
    EXPECT_EQ(read(block * block_size + 512, 512), 0);
    EXPECT_GT(read(block * block_size + 1024, 512), 0);
  }
  EXPECT_THAT(carry_out(operation::discard, 0, nr_origin_blocks * block_size), succeeds());
  EXPECT_THAT(carry_out(operation::flush, 0, 0), succeeds());
  EXPECT_GT(status().counts.commits, 0U);
}

TEST_F(file_runtime_test, a_clean_shutdown_keeps_what_is_dirty) {
  open();
  write_blocks(3);
  EXPECT_THAT(runtime_->clean(), succeeds());
  EXPECT_EQ(status().dirty, 0U);
  write(0, 4096, 9);
  close();
  options_.block_size = {};
  open();
  EXPECT_EQ(status().cache_used, 3U);
  EXPECT_EQ(status().dirty, 1U);
  EXPECT_EQ(read(0, 4096), 9);
}

TEST_F(file_runtime_test, after_a_kill_all_that_is_cached_counts_as_dirty) {
  open();
  write_blocks(3);
  EXPECT_THAT(runtime_->clean(), succeeds());
  EXPECT_THAT(carry_out(operation::flush, 0, 0), succeeds());
  kill();
  open();
  EXPECT_EQ(status().cache_used, 3U);
  EXPECT_EQ(status().dirty, 3U);
  EXPECT_EQ(read(block_size, block_size), 2);
}

TEST_F(file_runtime_test, a_kill_with_requests_in_flight_waits_for_the_kernel_only) {
  open();
  write_blocks(3);
  aligned_buffer buffer{nr_cache_blocks * 4096};
  std::deque<request> some(nr_cache_blocks);
  for (std::uint64_t i = 0; i < nr_cache_blocks; ++i) {
    some[i].op = i % 2 == 0 ? operation::read : operation::write;
    some[i].offset = bytes{i * block_size};
    some[i].length = bytes{4096};
    some[i].data = buffer.span().subspan(i * 4096, 4096);
    runtime_->submit(some[i]);
  }
  runtime_->run_once(0ns);
  completed_.clear();
  kill();
  EXPECT_TRUE(completed_.empty());
}

TEST_F(file_runtime_test, cleaning_brings_the_origin_up_to_date) {
  open();
  write_blocks(2);
  EXPECT_THAT(runtime_->clean(), succeeds());
  close();
  std::ifstream origin{paths_.origin.path, std::ios::binary};
  origin.seekg(block_size);
  EXPECT_EQ(origin.get(), 2);
}

TEST_F(file_runtime_test, takes_more_requests_than_its_queue_and_more_from_the_handler) {
  aligned_buffer buffer{block_size};
  std::deque<request> all(1000);
  std::size_t nr_completed = 0;
  auto opened = file_runtime::open(paths_, options_, [&](request &done) {
    EXPECT_THAT(done.outcome, succeeds());
    if (++nr_completed <= all.size()) {
      runtime_->submit(done);
    }
  });
  ASSERT_THAT(opened, succeeds());
  runtime_ = std::move(*opened);
  for (std::size_t i = 0; i < all.size(); ++i) {
    all[i].op = operation::read;
    all[i].offset = bytes{i % nr_origin_blocks * block_size};
    all[i].length = bytes{512};
    all[i].data = buffer.span().subspan(i % 128 * 512, 512);
    runtime_->submit(all[i]);
  }
  runtime_->run_until([&] { return nr_completed == 2 * all.size(); });
}

TEST_F(file_runtime_test, refuses_what_the_devices_cannot_do) {
  open();
  aligned_buffer buffer{block_size};
  const auto data = buffer.span();
  EXPECT_THAT(carry_out(operation::read, 100, 512, data.first(512)),
              fails_with(std::errc::invalid_argument));
  EXPECT_THAT(carry_out(operation::read, 0, 100, data.first(100)),
              fails_with(std::errc::invalid_argument));
  EXPECT_THAT(carry_out(operation::read, 0, 512, data.subspan(8, 512)),
              fails_with(std::errc::invalid_argument));
  EXPECT_THAT(carry_out(operation::read, nr_origin_blocks * block_size, 512, data.first(512)),
              fails_with(std::errc::invalid_argument));
}

TEST_F(file_runtime_test, is_woken_from_another_thread) {
  open();
  bool is_woken = false;
  while (!is_woken) {
    std::thread elsewhere{[&] { runtime_->wake(); }};
    const auto begin = std::chrono::steady_clock::now();
    runtime_->run_once();
    is_woken = std::chrono::steady_clock::now() - begin < 900ms; // and not by the tick
    elsewhere.join();
  }
}

TEST_F(file_runtime_test, a_cache_in_use_is_refused) {
  open();
  EXPECT_EQ(why_not(paths_), paths_.metadata.path +
                                 " is in use: deactivate the cache, or end the program "
                                 "that has it open, first");
}

TEST_F(file_runtime_test, one_file_for_two_devices_is_refused) {
  EXPECT_EQ(why_not({paths_.metadata.path, paths_.fast.path, paths_.fast.path}),
            "the fast device and the origin are the same device: " + paths_.fast.path);
  EXPECT_EQ(why_not({paths_.origin.path, paths_.fast.path, paths_.origin.path}),
            "the metadata device and the origin are the same device: " + paths_.origin.path);
}

// So that a client on this machine can write to it in order to free memory.
TEST_F(file_runtime_test, threads_that_serve_get_memory_without_io_where_that_is_allowed) {
  if (::prctl(PR_SET_IO_FLUSHER, 0, 0, 0, 0) != 0) { // NOLINT: so it is declared
    GTEST_SKIP() << "it takes CAP_SYS_RESOURCE";
  }
  open();
  int is_flusher = 0;
  std::thread{[&] { is_flusher = ::prctl(PR_GET_IO_FLUSHER, 0, 0, 0, 0); }}.join(); // NOLINT
  EXPECT_EQ(is_flusher, 1);
  ::prctl(PR_SET_IO_FLUSHER, 0, 0, 0, 0); // NOLINT
}

TEST_F(file_runtime_test, reads_only_where_it_may_not_write) {
  open();
  write_blocks(2);
  EXPECT_THAT(carry_out(operation::flush, 0, 0), succeeds());
  kill();
  options_.read_only = true;
  open();
  EXPECT_EQ(read(block_size, block_size), 2);
  aligned_buffer buffer{block_size};
  EXPECT_THAT(carry_out(operation::write, 0, 512, buffer.span().first(512)),
              fails_with(std::errc::read_only_file_system));
  close();
}

} // namespace
} // namespace dmcache
