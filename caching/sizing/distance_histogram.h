// How far apart touches of the same block are, in other blocks touched in between: 64 buckets for each
// power of two.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

namespace dmcache {

class distance_histogram {
 public:
  distance_histogram() : weights_(bucket_of(max_distance) + 1) {}

  // A touch that stands for `weight` of them.
  void add(double distance, double weight) {
    const double bounded = std::min(distance, static_cast<double>(max_distance));
    weights_[bucket_of(static_cast<std::uint64_t>(bounded))] += weight;
  }

  // What there is with distances below `end`. The distances of a bucket count as spread over it.
  double below(std::uint64_t end) const {
    double sum = 0;
    for (std::uint32_t bucket = 0; bucket < weights_.size(); ++bucket) {
      const std::uint64_t begin = begin_of(bucket);
      if (begin >= end) {
        break;
      }
      const std::uint64_t width = begin_of(bucket + 1) - begin;
      const std::uint64_t covered = std::min(width, end - begin);
      sum += weights_[bucket] * static_cast<double>(covered) / static_cast<double>(width);
    }
    return sum;
  }

  // From now on, what there is so far counts half as much.
  void halve() {
    for (double &each : weights_) {
      each /= 2;
    }
  }

 private:
  static constexpr unsigned bits = 6; // of a bucket's number in its power of two
  static constexpr std::uint64_t max_distance = std::uint64_t{1} << 40;

  // Distances below 128 have buckets of their own.
  static std::uint32_t bucket_of(std::uint64_t distance) {
    const auto width = static_cast<unsigned>(std::bit_width(distance));
    const unsigned dropped = width > bits + 1 ? width - (bits + 1) : 0;
    return static_cast<std::uint32_t>(distance >> dropped) + (dropped << bits);
  }
  static std::uint64_t begin_of(std::uint32_t bucket) {
    constexpr std::uint32_t per_power = 1U << bits;
    const unsigned dropped = bucket < 2 * per_power ? 0 : bucket / per_power - 1;
    return std::uint64_t{bucket - (dropped << bits)} << dropped;
  }

  std::vector<double> weights_;
};

} // namespace dmcache
