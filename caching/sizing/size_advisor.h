// How large should the cache be? Follows a few of the blocks that clients touch, and knows from them what
// LRU would make of any size, and the policy sift of some.
//
// After construction nothing is allocated, but by advice() and follow().
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "caching/policy/policy.h"
#include "caching/sizing/miss_ratio_curve.h"
#include "caching/sizing/sampling.h"
#include "caching/sizing/scaled_cache.h"

namespace dmcache {

// Hits and misses since some time in the past, modulo 2^32.
struct hit_totals {
  std::uint32_t read_hits;
  std::uint32_t read_misses;
  std::uint32_t write_hits;
  std::uint32_t write_misses;
};

// What was found out. A request counts once for each block that it touches.
struct size_advice {
  // What a cache of another size would miss, of all reads and of all writes.
  struct of_size {
    std::uint64_t nr_blocks = 0;
    touch_counts lru; // shares, from 0 to 1
    touch_counts sift;
  };

  sectors block_size;
  std::uint64_t nr_blocks = 0; // of this cache
  touch_counts seen;           // touches, those of before yesterday for a half, and so on
  touch_counts missed;         // of these
  double progress = 0;         // 1: enough was seen; below, nothing that follows means anything yet
  std::vector<of_size> sizes;  // a quarter, half, all, twice and four times of this cache

  // What LRU would miss of reads and writes together, for caches from 1/64 of this one to 64 times it.
  struct point {
    std::uint64_t nr_blocks = 0;
    double miss_ratio = 0;
  };
  std::vector<point> curve;
};

class size_advisor {
 public:
  // `so_far` is where the totals stand at the beginning.
  size_advisor(const policy_geometry &of, const hit_totals &so_far);

  // Is the block one of those that are followed? Every request asks.
  bool follows(origin_block block) const { return sampling_hash(block) <= largest_hash_; }
  // One of those was touched. `possible` is how it could be promoted in general: by_copy if it was read,
  // one of the others if it was written.
  void touch(origin_block block, promotion possible);

  // Time has come this far, and the totals as well. To be called once a second or so.
  void tick(std::uint64_t seconds, const hit_totals &so_far);

  // The copies of the cache decide as this policy from now on, if it is sift.
  void follow(const policy &live);
  void measured(const origin_read_times &times);

  size_advice advice() const;

 private:
  void count(const hit_totals &so_far);
  void halve();
  void update_limit();

  policy_geometry geometry_;
  std::uint64_t largest_hash_ = every_hash; // that any of those below follows
  miss_ratio_curve curve_;
  std::deque<scaled_cache> copies_; // the smallest first
  hit_totals last_;
  touch_counts seen_;
  touch_counts missed_;
  std::optional<std::uint64_t> last_halved_; // seconds
};

} // namespace dmcache
