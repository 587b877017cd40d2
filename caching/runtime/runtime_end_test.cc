// A runtime whose devices fail, and what becomes of those who ask it for something then, or when it
// has been closed.
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>

#include <gmock/gmock.h>

#include "base/testing/matchers.h"
#include "caching/runtime/threaded_runtime.h"

namespace dmcache {
namespace {

using testing::AnyOf;
using testing::Contains;
using testing::Each;
using testing::HasSubstr;
using operation = request::operation;

class runtime_end_test : public testing::Test {
 protected:
  static constexpr std::uint64_t block = 128 * sector_size;
  static constexpr std::uint64_t fast_size = 32 * block;

  runtime_end_test() {
    std::string name = testing::TempDir() + "/runtime_end.XXXXXX";
    folder_ = ::mkdtemp(name.data());
    options.block_size = sectors{block / sector_size};
  }
  ~runtime_end_test() override {
    running.reset();
    std::filesystem::remove_all(folder_);
  }

  // A new cache, whose first block is in the cache, and dirty.
  void start() {
    running.reset();
    const cache_paths paths{make_file("metadata", 1 << 20), make_file("fast", fast_size),
                            make_file("origin", 4 * fast_size)};
    auto opened = threaded_runtime::open(paths, options, [this](const std::string &line) {
      const std::scoped_lock lock{telling_};
      told_.push_back(line);
    });
    ASSERT_THAT(opened, succeeds());
    running = std::move(*opened);
    ASSERT_THAT(running->start(), succeeds());
    std::vector data(block, std::byte{7});
    for (int i = 0; i < 100 && running->status().dirty == 0; ++i) {
      ASSERT_THAT(ask(operation::write, data), succeeds());
    }
    ASSERT_EQ(running->status().dirty, 1U);
  }

  std::string make_file(const char *name, std::uint64_t size) const {
    std::ofstream{folder_ / name, std::ios::trunc}.flush();
    set_size(name, size);
    return folder_ / name;
  }
  void set_size(const char *name, std::uint64_t size) const {
    std::filesystem::resize_file(folder_ / name, size);
  }

  std::error_code ask(operation op, std::span<std::byte> data = {}) const {
    request wanted;
    wanted.op = op;
    wanted.length = bytes{data.size()};
    wanted.data = data;
    return running->carry_out(wanted);
  }
  std::error_code read() const {
    std::vector<std::byte> into(block);
    return ask(operation::read, into);
  }
  result<> set_mode(cache_mode mode) const {
    return running->reload([mode](engine_options &changed) { changed.mode = mode; });
  }

  std::vector<std::string> told() {
    const std::scoped_lock lock{telling_};
    return told_;
  }

  engine_options options;
  std::unique_ptr<threaded_runtime> running;

 private:
  std::filesystem::path folder_;
  std::mutex telling_;
  std::vector<std::string> told_; // troubles
};

TEST_F(runtime_end_test, what_is_asked_after_it_is_refused) {
  start();
  ASSERT_THAT(running->close(), succeeds());
  EXPECT_THAT(read(), fails_with(std::errc::no_such_device));
  EXPECT_THAT(ask(operation::flush), fails_with(std::errc::no_such_device));
  EXPECT_THAT(set_mode(cache_mode::writethrough), fails_with(failure::failed));
  EXPECT_THAT(running->message({"migration_threshold", "1"}), fails_with(failure::failed));
  EXPECT_THAT(running->clean(), fails_with(failure::failed));
}

// At whatever moment of the shutdown it comes, and although nothing can be flushed.
TEST_F(runtime_end_test, what_is_asked_meanwhile_is_answered) {
  for (int round = 0; round < 25; ++round) {
    start();
    set_size("fast", 0);
    std::atomic<unsigned> nr_answers{0};
    std::atomic<bool> is_closed{false};
    std::vector<std::thread> askers;
    for (const auto mode : {cache_mode::passthrough, cache_mode::writethrough}) {
      askers.emplace_back([&, mode] {
        while (!is_closed) {
          (void)set_mode(mode);
          ++nr_answers;
          std::this_thread::yield(); // to who shuts down
        }
      });
    }
    while (nr_answers < 2) {
      std::this_thread::yield();
    }
    EXPECT_THAT(running->close(), fails_with(failure::environment));
    is_closed = true;
    for (std::thread &each : askers) {
      each.join();
    }
  }
}

TEST_F(runtime_end_test, a_file_that_was_made_shorter_never_reads_as_zeroes) {
  for (const char *const name : {"fast", "origin"}) {
    options.mode = cache_mode::writeback;
    start();
    if (name == std::string_view{"origin"}) {
      ASSERT_THAT(running->clean(), succeeds());
      ASSERT_THAT(set_mode(cache_mode::passthrough), succeeds());
    }
    set_size(name, 0);
    EXPECT_THAT(read(), fails_with(std::errc::io_error));
    set_size(name, 4 * fast_size);
    EXPECT_THAT(read(), fails_with(std::errc::io_error));
    EXPECT_THAT(told(),
                Contains(HasSubstr(std::string{name == std::string_view{"fast"} ? "the fast device"
                                                                                : "the origin"} +
                                   " was made shorter than the ")));
    EXPECT_THAT(running->close(), fails_with(failure::environment));
  }
}

// Nobody reads, so it has to be found out without that.
TEST_F(runtime_end_test, a_file_that_was_made_shorter_is_told_of) {
  start();
  set_size("fast", fast_size - 1);
  while (told().empty()) {
    std::this_thread::sleep_for(std::chrono::milliseconds{10});
  }
  EXPECT_THAT(told(), Each(AnyOf(HasSubstr("the fast device was made shorter"),
                                 HasSubstr("of the fast device"))));
  set_size("fast", fast_size);
  EXPECT_THAT(read(), fails_with(std::errc::io_error));
}

} // namespace
} // namespace dmcache
