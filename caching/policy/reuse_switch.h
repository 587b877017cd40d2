// Is what is touched once likely to be visited again? In a scan it isn't, and then a policy should
// wait for the second visit before it promotes a block.
#pragma once

namespace dmcache {

class reuse_switch {
 public:
  // Of a block that was touched in one visit only so far: it was visited again, or it is forgotten
  // or demoted without that.
  void learn(bool was_visited_again) {
    constexpr double weight = 1.0 / 1024;
    share_ += ((was_visited_again ? 1.0 : 0.0) - share_) * weight;
    // Two thresholds, lest chance turn the switch to and fro.
    is_likely_ = share_ >= (is_likely_ ? 0.25 : 0.3125);
  }

  bool is_likely() const { return is_likely_; }

 private:
  double share_ = 1; // of the last thousand or so that were visited again
  bool is_likely_ = true;
};

} // namespace dmcache
