// A cache that is nothing but its policy: what a trace's requests would find in it, and what they
// would make it copy.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <unordered_map>

#include "base/lazy_array.h"
#include "base/units.h"
#include "caching/policy/policy.h"
#include "caching/replay/replay_counts.h"
#include "caching/replay/trace.h"

namespace dmcache {

class replayed_cache {
 public:
  // Promotions, demotions and writing back take as long as `delay` requests do; if it is 0, they
  // end with the request that began them.
  replayed_cache(std::unique_ptr<policy> chosen_policy, const policy_geometry &geometry,
                 replay_mode mode, std::uint64_t delay);

  // Requests come in the order of their times. A second without any makes the cache idle.
  void request(const trace_request &request);

  const replay_counts &counts() const { return counts_; }

 private:
  struct slot { // a cache block
    origin_block holds;
    bool is_promoting;
    bool is_dirty;
    bool was_written; // since the work on it began
  };
  struct running {
    std::uint64_t ends; // the number of the request after which it ends
    cache_block block;
    std::optional<background_work> work; // none if it is a promotion
  };

  void pass_time(double now);
  void access(origin_block block, bool is_write, bytes length);
  void hit(cache_block block, bool is_write, bytes length);
  void miss(origin_block block, promotion possible);
  void begin_work(bool is_idle);
  void end_one(const running &ended);
  void end_promotion(cache_block block);

  std::unique_ptr<policy> policy_;
  bytes block_size_;
  replay_mode mode_;
  std::uint64_t delay_;
  lazy_array<slot> slots_;
  std::unordered_map<std::uint64_t, cache_block> found_; // by origin block
  std::deque<running> running_;                          // in the order of their ends
  std::uint64_t nr_requests_ = 0;
  std::optional<double> last_time_;
  replay_counts counts_;
};

} // namespace dmcache
