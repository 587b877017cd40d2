// A cache in small, to see what its policy would make of another size: the policy itself, on the blocks
// that are samples, with as many cache blocks as make the samples the same share of either. It holds no
// data; promotions, demotions and writebacks take no time.
//
// After construction nothing is allocated.
#pragma once

#include <cstdint>
#include <vector>

#include "caching/policy/sift.h"
#include "caching/sizing/miss_ratio_curve.h"
#include "caching/sizing/sample_index.h"

namespace dmcache {

class scaled_cache {
 public:
  static constexpr std::uint64_t usual_blocks = 1024;

  // A copy of a cache of this size. It has at most so many blocks, and no more than the cache.
  explicit scaled_cache(const policy_geometry &of, std::uint64_t nr_blocks = usual_blocks);

  // Only blocks with hashes up to this one count.
  std::uint64_t largest_hash() const { return largest_hash_; }
  // A block with such a hash (sampling.h) was touched; by a write, unless `possible` is by_copy.
  void touch(std::uint64_t hash, promotion possible);
  void tick(std::uint64_t seconds) { policy_.tick(seconds); }

  const touch_counts &touches() const { return touches_; }
  const touch_counts &misses() const { return misses_; }
  // From now on, what was touched so far counts half as much.
  void halve();

  // Has the policy decide as this one, if that is a sift as well.
  void follow(const policy &live);
  void measured(const origin_read_times &times) { policy_.measured(times); }

 private:
  void work();

  std::uint64_t nr_blocks_;
  double share_; // of the blocks that are samples
  std::uint64_t largest_hash_;
  sift policy_;
  sample_index cached_; // by cache block
  touch_counts touches_;
  touch_counts misses_;
};

} // namespace dmcache
