#include "caching/sizing/miss_ratio_curve.h"

#include <algorithm>

namespace dmcache {

miss_ratio_curve::miss_ratio_curve(double share)
    : largest_hash_{largest_hash_for(share)}, samples_{max_samples}, order_{max_samples} {
  by_hash_.reserve(max_samples);
}

void miss_ratio_curve::touch(std::uint64_t hash, bool is_read) {
  touches &among = is_read ? reads_ : writes_;
  const double stands_for = 1 / share_of_samples(largest_hash_);
  ++nr_sampled_;
  among.weight += stands_for;
  if (const auto known = samples_.find(hash)) {
    among.again.add(order_.remove(*known) * stands_for, stands_for);
    order_.push(*known);
  } else {
    add(hash);
  }
}

void miss_ratio_curve::add(std::uint64_t hash) {
  const auto has_smaller = [this](sample_number one, sample_number other) {
    return has_smaller_hash(one, other);
  };
  auto number = static_cast<sample_number>(by_hash_.size());
  if (number == max_samples) {
    const std::uint64_t largest = samples_.hash_of(by_hash_.front());
    largest_hash_ = std::max(largest, hash) - 1;
    if (hash > largest) {
      return;
    }
    std::ranges::pop_heap(by_hash_, has_smaller);
    number = by_hash_.back();
    by_hash_.pop_back();
    samples_.remove(number);
    order_.remove(number);
  }
  samples_.insert(number, hash);
  order_.push(number);
  by_hash_.push_back(number);
  std::ranges::push_heap(by_hash_, has_smaller);
}

touch_counts miss_ratio_curve::misses(std::uint64_t nr_blocks, const touch_counts &all) const {
  return {misses(nr_blocks, reads_, all.reads), misses(nr_blocks, writes_, all.writes)};
}

// Some blocks are touched far more often than others, and whether such a one is among the samples is
// chance. So the samples don't stand for quite as many touches as there were. What is missing, or too
// much, is touches of those blocks: hits, since they come soon after one another. All others are misses
// unless their distance is small enough.
double miss_ratio_curve::misses(std::uint64_t nr_blocks, const touches &among, double all) {
  return std::clamp(among.weight - among.again.below(nr_blocks), 0.0, all);
}

void miss_ratio_curve::halve() {
  for (touches *each : {&reads_, &writes_}) {
    each->again.halve();
    each->weight /= 2;
  }
}

} // namespace dmcache
