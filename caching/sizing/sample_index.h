// Finds samples, which are numbered from 0 on, by their hashes: a hash table with chains. All its memory
// is taken when it is made.
#pragma once

#include <bit>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "base/assert.h"
#include "caching/sizing/sampling.h"

namespace dmcache {

class sample_index {
 public:
  explicit sample_index(std::uint32_t capacity)
      : hashes_(capacity), chain_(capacity), buckets_(std::bit_ceil(capacity), no_sample) {
    require(capacity <= no_sample, "each sample has a number");
  }

  std::optional<sample_number> find(std::uint64_t hash) const {
    sample_number sample = buckets_[bucket_of(hash)];
    while (sample != no_sample && hashes_[sample] != hash) {
      sample = chain_[sample];
    }
    return sample == no_sample ? std::nullopt : std::optional{sample};
  }

  // Requires that neither the number nor the hash is there.
  void insert(sample_number sample, std::uint64_t hash) {
    sample_number &bucket = buckets_[bucket_of(hash)];
    hashes_[sample] = hash;
    chain_[sample] = bucket;
    bucket = sample;
  }

  // Requires that the sample is there.
  void remove(sample_number sample) {
    sample_number *link = &buckets_[bucket_of(hashes_[sample])];
    while (*link != sample) {
      link = &chain_[*link];
    }
    *link = chain_[sample];
  }

  // Of a sample that is there, or was.
  std::uint64_t hash_of(sample_number sample) const { return hashes_[sample]; }

 private:
  static constexpr auto no_sample = std::numeric_limits<sample_number>::max();

  // The upper bits of all samples' hashes are zero, or nearly, and the lower ones are those of the block.
  std::size_t bucket_of(std::uint64_t hash) const {
    constexpr std::uint64_t multiplier = 0x9e3779b97f4a7c15;
    constexpr unsigned half = 32;
    return (hash ^ hash >> half) * multiplier >> half & (buckets_.size() - 1);
  }

  std::vector<std::uint64_t> hashes_;
  std::vector<sample_number> chain_; // of each sample: the next one in its bucket
  std::vector<sample_number> buckets_;
};

} // namespace dmcache
