// How long reads of the origin take, as whoever carries them out has measured it. The policy weighs
// what a promotion costs against what it spares.
#pragma once

#include <chrono>
#include <optional>

#include "caching/engine/instant.h"
#include "caching/policy/policy.h"

namespace dmcache {

class origin_times {
 public:
  // A client's read, and all reads of a block that is promoted. 0: nobody has measured it.
  void missed(instant took) { miss_.add(took); }
  void copied(instant took) { block_.add(took); }

  // If there have been both.
  std::optional<origin_read_times> so_far() const {
    if (miss_.is_unknown() || block_.is_unknown()) {
      return {};
    }
    return origin_read_times{.miss = miss_.value(), .block = block_.value()};
  }

 private:
  // The later ones count more: of a value, half is left after 22 others.
  class moving_mean {
   public:
    void add(instant next) {
      if (next > instant{}) {
        mean_ = is_unknown() ? next : mean_ + (next - mean_) / 32;
      }
    }
    bool is_unknown() const { return mean_ == instant{}; }
    instant value() const { return mean_; }

   private:
    instant mean_{};
  };

  moving_mean miss_;
  moving_mean block_;
};

} // namespace dmcache
