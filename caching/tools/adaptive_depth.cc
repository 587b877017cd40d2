#include "caching/tools/adaptive_depth.h"

#include <algorithm>

namespace dmcache {
namespace {

// A measurement ends after so many bytes, or so long.
constexpr std::uint64_t measured_length = std::uint64_t{48} << 20;
constexpr std::chrono::seconds measured_time{1};
constexpr double clearly_quicker = 1.1; // by less, rates differ from one moment to the next
constexpr unsigned rests = 40;          // what is tried in vain costs a fortieth at most

} // namespace

adaptive_depth::adaptive_depth(std::size_t most) : most_{most} {}

void adaptive_depth::ended(std::uint64_t length, instant when) {
  if (nr_ignored_ != 0) {
    --nr_ignored_;
    return;
  }
  if (!begin_) {
    begin_ = when;
    return;
  }
  transferred_ += length;
  const std::chrono::duration<double> passed = when - *begin_;
  if ((transferred_ >= measured_length && passed.count() > 0) || passed >= measured_time) {
    judge(static_cast<double>(transferred_) / passed.count());
  }
}

void adaptive_depth::resume() {
  nr_ignored_ = 0;
  begin_.reset();
  transferred_ = 0;
}

void adaptive_depth::judge(double rate) {
  if (tried_ == best_) {
    best_rate_ = rate; // of late
    if (rests_ != 0) {
      --rests_;
      measure(best_);
    } else {
      try_next();
    }
  } else if (rate > clearly_quicker * best_rate_) {
    best_ = tried_;
    best_rate_ = rate;
    try_next();
  } else {
    turn();
    measure(best_);
  }
}

void adaptive_depth::try_next() {
  const std::size_t next =
      goes_up_ ? std::min(2 * best_, most_) : std::max<std::size_t>(best_ / 2, 1);
  if (next == best_) { // there is nothing farther
    turn();
  }
  measure(next);
}

// Another time the other way.
void adaptive_depth::turn() {
  goes_up_ = !goes_up_;
  rests_ = rests;
}

void adaptive_depth::measure(std::size_t depth) {
  resume();
  nr_ignored_ = depth == tried_ ? 0 : tried_;
  tried_ = depth;
}

} // namespace dmcache
