#include "base/progress.h"

#include <fcntl.h>
#include <pty.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file_descriptor.h"

namespace dmcache {
namespace {

using testing::HasSubstr;

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
    ::fcntl(user, F_SETFL, O_RDWR | O_NONBLOCK);
    ::dup2(its_end, STDERR_FILENO);
    ::close(its_end);
  }
  terminal(const terminal &) = delete;
  terminal &operator=(const terminal &) = delete;
  ~terminal() { ::dup2(before_.get(), STDERR_FILENO); }

  // What has been written since it was asked last.
  std::string shown() const {
    std::array<char, 1000> text{};
    const ssize_t size = ::read(user_.get(), text.data(), text.size());
    return {text.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0))};
  }

 private:
  file_descriptor before_{::dup(STDERR_FILENO)};
  file_descriptor user_;
};

// Longer than work that isn't shown, and than the time between two updates.
void pass_time() {
  std::this_thread::sleep_for(std::chrono::milliseconds{510});
}

TEST(progress, tells_how_much_is_done) {
  const terminal shows;
  progress watcher{false};
  watcher.begin("working", 8);
  watcher.advance(1);
  pass_time();
  watcher.advance(1);
  EXPECT_THAT(shows.shown(), HasSubstr("working: 25%"));
  pass_time();
  watcher.advance(4);
  EXPECT_THAT(shows.shown(), HasSubstr("working: 75%"));
}

TEST(progress, begins_anew_with_other_work) {
  const terminal shows;
  progress watcher{false};
  watcher.begin("working", 2);
  watcher.advance(1);
  watcher.begin("other work", 4);
  pass_time();
  watcher.advance(1);
  EXPECT_THAT(shows.shown(), HasSubstr("other work: 25%"));
}

} // namespace
} // namespace dmcache
