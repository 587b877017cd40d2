// How many promotions a second may happen on average: for who wants to spare the fast device.
//
// What isn't used is saved, up to what comes in during an hour. The less is saved, the more touches
// a block needs before it is promoted, so that the promotions go to those that are touched most.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace dmcache {

class fill_budget {
 public:
  bool is_limited() const { return per_second_ > 0; }
  double per_second() const { return per_second_; }

  // 0 is no limit. A limit where there was none begins with half of what can be saved.
  void limit_to(double per_second) {
    const bool was_limited = is_limited();
    per_second_ = per_second;
    balance_ = was_limited ? std::min(balance_, depth()) : depth() / 2;
  }

  void earn(std::uint64_t seconds) {
    balance_ = std::min(depth(), balance_ + per_second_ * static_cast<double>(seconds));
  }

  bool has_any() const { return !is_limited() || balance_ >= 1; }
  void spend() { balance_ -= is_limited() ? 1 : 0; }

  // Touches that a block needs at the moment: 1 with all saved that can be, `most` with nothing.
  std::uint32_t touches_needed(std::uint32_t most) const {
    if (!is_limited()) {
      return 1;
    }
    constexpr double doublings = 5;
    const double needed = std::exp2(doublings * (1 - balance_ / depth()));
    return std::min(most, static_cast<std::uint32_t>(std::lround(needed)));
  }

 private:
  double depth() const { return std::max(per_second_ * 3600, 4.0); }

  double per_second_ = 0; // promotions; 0: any number
  double balance_ = 0;    // promotions
};

} // namespace dmcache
