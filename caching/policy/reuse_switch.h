// Is what is touched once likely to be visited again? In a scan it isn't, and then a policy should
// wait for the second visit before it promotes a block.
#pragma once

#include <algorithm>

namespace dmcache {

class reuse_switch {
 public:
  // `share` is the part of the blocks that it will hear of: with fewer, it goes by as many fewer.
  explicit reuse_switch(double share = 1)
      : weight_{1 / std::max(blocks_remembered * share, fewest_remembered)} {}

  // Of a block that was touched in one visit only so far: it was visited again, or it is forgotten
  // or demoted without that.
  void learn(bool was_visited_again) {
    share_ += ((was_visited_again ? 1.0 : 0.0) - share_) * weight_;
    // Two thresholds, lest chance turn the switch to and fro.
    is_likely_ = share_ >= (is_likely_ ? 0.25 : 0.3125);
  }

  bool is_likely() const { return is_likely_; }

 private:
  static constexpr double blocks_remembered = 1024;
  static constexpr double fewest_remembered = 32; // below, chance alone would turn the switch

  double weight_;
  double share_ = 1; // of the last thousand or so that were visited again
  bool is_likely_ = true;
};

} // namespace dmcache
