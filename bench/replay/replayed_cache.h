// A cache that is nothing but its policy: what a trace's requests would find in it, and what they
// would make it copy.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/units.h"
#include "bench/replay/trace.h"
#include "caching/policy/policy.h"

namespace dmcache {

// A request counts once for each block that it touches.
struct replay_counts {
  std::uint64_t nr_hits = 0;
  std::uint64_t nr_misses = 0;
  std::uint64_t nr_promotions = 0;
  std::uint64_t nr_demotions = 0;
  std::uint64_t nr_written_back = 0;
  std::uint64_t written_to_fast = 0; // bytes, of promotions and of write hits
};

class replayed_cache {
 public:
  enum class mode : std::uint8_t { writeback, writethrough };

  // Promotions, demotions and writing back take as long as `delay` requests do; if it is 0, they
  // end with the request that began them.
  replayed_cache(std::unique_ptr<policy> chosen_policy, const policy_geometry &geometry, mode mode,
                 std::uint64_t delay);

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
  mode mode_;
  std::uint64_t delay_;
  std::vector<slot> slots_;
  std::unordered_map<std::uint64_t, cache_block> found_; // by origin block
  std::deque<running> running_;                          // in the order of their ends
  std::uint64_t nr_requests_ = 0;
  std::optional<double> last_time_;
  replay_counts counts_;
};

} // namespace dmcache
