#include "base/progress.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/standard_streams.h"

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
  is_transfer_ = false;
  begun_ = clock::now();
  next_ = begun_ + patience;
}

void progress::begin_transfer(std::string work, std::uint64_t total) {
  begin(std::move(work), total);
  is_transfer_ = true;
}

void progress::expect(std::string work, std::uint64_t more) {
  if (work == work_ && done_ < total_) {
    total_ += more;
  } else {
    begin(std::move(work), more);
  }
}

void progress::advance(std::uint64_t steps) {
  done_ += steps;
  if (enabled_ && clock::now() >= next_) {
    show();
  }
}

void progress::wait_for(std::string_view awaited) {
  clear();
  if (enabled_) {
    tell(fmt::format("waiting for {}\x1b[K", awaited));
    shown_ = true;
  }
}

void progress::show() {
  const auto percent = total_ == 0 ? 100 : std::min<std::uint64_t>(done_ * 100 / total_, 100);
  tell(fmt::format("\r{}: {}%{}\x1b[K", work_, percent, rate()));
  shown_ = true;
  next_ = clock::now() + between_updates;
}

// ", 231 MiB/s, 17 s left"
std::string progress::rate() const {
  const double seconds = std::chrono::duration<double>(clock::now() - begun_).count();
  if (!is_transfer_ || done_ == 0 || done_ > total_) {
    return {};
  }
  constexpr double mebibyte = 1024 * 1024;
  const double per_second = static_cast<double>(done_) / seconds;
  return fmt::format(", {:.0f} MiB/s, {:.0f} s left", per_second / mebibyte,
                     static_cast<double>(total_ - done_) / per_second);
}

void progress::clear() {
  if (std::exchange(shown_, false)) {
    tell("\r\x1b[K");
  }
}

} // namespace dmcache
