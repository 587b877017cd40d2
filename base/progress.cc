#include "base/progress.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace dmcache {
namespace {

constexpr std::chrono::milliseconds patience{500};
constexpr std::chrono::milliseconds between_updates{100};

} // namespace

progress::progress(bool quiet) : enabled_{!quiet && ::isatty(STDERR_FILENO) == 1} {}

void progress::begin(std::string work, std::uint64_t total) {
  clear();
  work_ = std::move(work);
  total_ = total;
  done_ = 0;
  next_ = clock::now() + patience;
}

void progress::advance(std::uint64_t steps) {
  done_ += steps;
  if (enabled_ && clock::now() >= next_) {
    show();
  }
}

void progress::show() {
  const auto percent = total_ == 0 ? 100 : std::min<std::uint64_t>(done_ * 100 / total_, 100);
  fmt::print(stderr, "\r{}: {}%\x1b[K", work_, percent);
  shown_ = true;
  next_ = clock::now() + between_updates;
}

void progress::clear() {
  if (std::exchange(shown_, false)) {
    fmt::print(stderr, "\r\x1b[K");
  }
}

} // namespace dmcache
