// What caches of any size would miss that replace what was touched longest ago (LRU), from the touches of
// a few blocks: SHARDS with a fixed number of samples (Waldspurger and others, FAST 2015).
//
// A touch of a block is a hit in all caches larger than the number of other blocks touched since its
// last one. Only blocks whose hash is at most a limit are looked at. When there are too many of them, the
// one with the largest hash is forgotten and the limit falls below it; so at most 8192 are known, in
// 0.3 MiB, however many blocks there are. A sample stands for one over the share of blocks that are
// samples, and what is found among samples is stretched by as much.
//
// After construction nothing is allocated.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "caching/sizing/distance_histogram.h"
#include "caching/sizing/recency_order.h"
#include "caching/sizing/sample_index.h"
#include "caching/sizing/sampling.h"

namespace dmcache {

// Touches of blocks; fractions, since old ones count less.
struct touch_counts {
  double reads = 0;
  double writes = 0;

  double all() const { return reads + writes; }
  void halve() {
    reads /= 2;
    writes /= 2;
  }
};

class miss_ratio_curve {
 public:
  static constexpr std::uint32_t max_samples = 8192;

  // `share` of all blocks are samples at the beginning.
  explicit miss_ratio_curve(double share = 1);

  // The limit: only blocks with hashes up to this one count.
  std::uint64_t largest_hash() const { return largest_hash_; }
  // A block with such a hash (sampling.h) was touched.
  void touch(std::uint64_t hash, bool is_read);
  // What touch() was called for so far.
  std::uint64_t nr_sampled() const { return nr_sampled_; }

  // Of `all` touches that there were, samples or not, since the beginning, those that would miss a cache
  // of so many blocks. If halve() was called, it was for `all` as well.
  touch_counts misses(std::uint64_t nr_blocks, const touch_counts &all) const;

  // From now on, what was touched so far counts half as much.
  void halve();

 private:
  struct touches {
    distance_histogram again; // those whose distance is known
    double weight = 0;        // of all
  };

  static double misses(std::uint64_t nr_blocks, const touches &among, double all);
  void add(std::uint64_t hash);
  bool has_smaller_hash(sample_number one, sample_number other) const {
    return samples_.hash_of(one) < samples_.hash_of(other);
  }

  std::uint64_t largest_hash_;
  sample_index samples_;
  recency_order order_;
  std::vector<sample_number> by_hash_; // a heap of the samples, the one with the largest hash first
  touches reads_;
  touches writes_;
  std::uint64_t nr_sampled_ = 0;
};

} // namespace dmcache
