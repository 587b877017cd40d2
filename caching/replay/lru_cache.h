// A cache that keeps what was used last, to compare policies with: the least recently used block
// makes room, at once, for whatever is missed. It is no policy to run a cache with, since it copies
// too much.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <unordered_map>

#include "base/lazy_array.h"
#include "base/units.h"
#include "caching/policy/policy.h"
#include "caching/replay/replay_counts.h"
#include "caching/replay/trace.h"

namespace dmcache {

class lru_cache {
 public:
  static constexpr std::string_view name = "lru";

  // Promotions take as long as `delay` requests do, or until a second without any. While that of the
  // least recently used block is under way, what is missed stays outside.
  lru_cache(const policy_geometry &geometry, replay_mode mode, std::uint64_t delay);

  // Requests come in the order of their times.
  void request(const trace_request &request);

  const replay_counts &counts() const { return counts_; }

 private:
  struct slot { // a cache block, in a ring of all that are used
    origin_block holds;
    std::uint64_t promoted_by; // the number of the request that began the promotion
    std::uint32_t newer;
    std::uint32_t older;
    bool is_dirty;
  };

  void access(origin_block block, bool is_write, bytes length);
  void hit(std::uint32_t block, bool is_write, bytes length);
  void miss(origin_block block, bool covers_all);
  std::optional<std::uint32_t> take_block();
  bool is_promoting(const slot &each) const;
  void take_out(std::uint32_t block);
  void put_first(std::uint32_t block);

  bytes block_size_;
  replay_mode mode_;
  std::uint64_t delay_;
  lazy_array<slot> slots_; // the last one is the ring's head, and no block
  std::uint32_t head_;
  std::uint32_t nr_used_ = 0;
  std::unordered_map<std::uint64_t, std::uint32_t> found_; // by origin block
  std::uint64_t nr_requests_ = 0;
  std::uint64_t nr_before_pause_ = 0; // requests whose promotions a pause has ended
  double last_time_ = 0;
  replay_counts counts_;
};

} // namespace dmcache
