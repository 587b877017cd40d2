// Finds samples, which are numbered from 0 on, by their hashes: a hash table with chains. All its memory
// is taken when it is made.
#pragma once

#include <bit>
#include <cstdint>
#include <optional>
#include <vector>

namespace dmcache {

class sample_index {
 public:
  explicit sample_index(std::uint32_t capacity)
      : hashes_(capacity), chain_(capacity), buckets_(std::bit_ceil(capacity), no_sample) {}

  std::optional<std::uint32_t> find(std::uint64_t hash) const {
    std::uint32_t sample = buckets_[bucket_of(hash)];
    while (sample != no_sample && hashes_[sample] != hash) {
      sample = chain_[sample];
    }
    return sample == no_sample ? std::nullopt : std::optional{sample};
  }

  // Requires that neither the number nor the hash is there.
  void insert(std::uint32_t sample, std::uint64_t hash) {
    std::uint32_t &bucket = buckets_[bucket_of(hash)];
    hashes_[sample] = hash;
    chain_[sample] = bucket;
    bucket = sample;
  }

  // Requires that the sample is there.
  void remove(std::uint32_t sample) {
    std::uint32_t *link = &buckets_[bucket_of(hashes_[sample])];
    while (*link != sample) {
      link = &chain_[*link];
    }
    *link = chain_[sample];
  }

  // Of a sample that is there, or was.
  std::uint64_t hash_of(std::uint32_t sample) const { return hashes_[sample]; }

 private:
  static constexpr std::uint32_t no_sample = ~std::uint32_t{0};

  // The upper bits of all samples' hashes are zero, or nearly, and the lower ones are those of the block.
  std::size_t bucket_of(std::uint64_t hash) const {
    constexpr std::uint64_t multiplier = 0x9e3779b97f4a7c15;
    constexpr unsigned half = 32;
    return (hash ^ hash >> half) * multiplier >> half & (buckets_.size() - 1);
  }

  std::vector<std::uint64_t> hashes_;
  std::vector<std::uint32_t> chain_; // of each sample: the next one in its bucket
  std::vector<std::uint32_t> buckets_;
};

} // namespace dmcache
