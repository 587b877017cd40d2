#include "base/progress.h"

#include <poll.h>
#include <pty.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>

#include <gtest/gtest.h>

#include "base/file_descriptor.h"

namespace dmcache {
namespace {

// In place of standard error for as long as it lives.
class terminal {
 public:
  terminal() {
    int its_end = -1;
    int user = -1;
    if (::openpty(&user, &its_end, nullptr, nullptr, nullptr) != 0) {
      throw std::runtime_error{"there is no terminal"};
    }
    user_ = file_descriptor{user};
    ::dup2(its_end, STDERR_FILENO);
    ::close(its_end);
  }
  terminal(const terminal &) = delete;
  terminal &operator=(const terminal &) = delete;
  ~terminal() { ::dup2(before_.get(), STDERR_FILENO); }

  // Waits for it: a terminal passes on what is written when it gets to it.
  void expect_shown(std::string_view text) {
    pollfd readable{user_.get(), POLLIN, 0};
    while (!shown_.contains(text)) {
      ASSERT_EQ(::poll(&readable, 1, 60'000), 1) << "shown is only: " << shown_;
      std::array<char, 1000> more{};
      const ssize_t size = ::read(user_.get(), more.data(), more.size());
      ASSERT_GT(size, 0);
      shown_.append(more.data(), static_cast<std::size_t>(size));
    }
    shown_.clear();
  }

 private:
  file_descriptor before_{::dup(STDERR_FILENO)};
  file_descriptor user_;
  std::string shown_; // since it was asked last
};

// Longer than work that isn't shown, and than the time between two updates.
void pass_time() {
  std::this_thread::sleep_for(std::chrono::milliseconds{510});
}

TEST(progress, tells_how_much_is_done) {
  terminal shows;
  progress watcher{false};
  watcher.begin("working", 8);
  watcher.advance(1);
  pass_time();
  watcher.advance(1);
  shows.expect_shown("working: 25%");
  pass_time();
  watcher.advance(4);
  shows.expect_shown("working: 75%");
}

TEST(progress, begins_anew_with_other_work) {
  terminal shows;
  progress watcher{false};
  watcher.begin("working", 2);
  watcher.advance(1);
  watcher.begin("other work", 4);
  pass_time();
  watcher.advance(1);
  shows.expect_shown("other work: 25%");
}

TEST(progress, adds_what_is_expected_to_the_work_that_is_under_way) {
  terminal shows;
  progress watcher{false};
  watcher.expect("working", 1);
  watcher.expect("working", 7);
  pass_time();
  watcher.advance(2);
  shows.expect_shown("working: 25%");
  watcher.advance(6);
  watcher.expect("working", 2);
  pass_time();
  watcher.advance(1);
  shows.expect_shown("working: 50%");
}

} // namespace
} // namespace dmcache
