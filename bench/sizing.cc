// How well a few blocks tell what caches of other sizes would miss: bench_sizing TRACE... For each trace,
// and blocks of 4, 64 and 256 KiB, it prints how far the sampled curve of LRU, and the copies of sift in
// small, are from the exact ones, at eleven sizes from 0.5 to 80 % of what the trace touches. It exits
// with 1 if the curve is further off than its bar.

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <span>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "caching/replay/read_trace.h"
#include "caching/sizing/miss_ratio_curve.h"
#include "caching/sizing/scaled_cache.h"

namespace dmcache {
namespace {

constexpr double error_bar = 0.01;
constexpr std::array shares_of_footprint{.005, .01, .02, .05, .1, .15, .2, .3, .4, .6, .8};

struct touched_block {
  origin_block block;
  promotion possible;
};

std::vector<touched_block> touches_of(std::span<const trace_request> requests, bytes block_size) {
  std::vector<touched_block> all;
  for (const trace_request &each : requests) {
    for_each_block(each, block_size, [&](origin_block block, bytes length) {
      all.push_back({block, !each.is_write         ? promotion::by_copy
                            : length == block_size ? promotion::without_copy
                                                   : promotion::after_write});
    });
  }
  return all;
}

// Of all blocks, by the same means as the sampled curve has, but without samples.
class exact_curve {
 public:
  explicit exact_curve(const std::vector<touched_block> &touched, const footprint &of)
      : known_(of.nr_origin_blocks), nr_touches_{touched.size()} {
    recency_order order{static_cast<std::uint32_t>(of.nr_origin_blocks)};
    for (const touched_block &each : touched) {
      const auto number = static_cast<std::uint32_t>(each.block.value());
      if (known_[number]) {
        distances_.push_back(order.remove(number));
      }
      order.push(number);
      known_[number] = true;
    }
    std::ranges::sort(distances_);
  }

  double miss_ratio(std::uint64_t nr_blocks) const {
    const auto hits = std::ranges::lower_bound(distances_, nr_blocks) - distances_.begin();
    return 1 - static_cast<double>(hits) / static_cast<double>(nr_touches_);
  }

 private:
  std::vector<bool> known_;
  std::vector<std::uint64_t> distances_;
  std::size_t nr_touches_;
};

struct errors {
  double sum = 0;
  double largest = 0;
  unsigned count = 0;

  void add(double error) {
    sum += std::abs(error);
    largest = std::max(largest, std::abs(error));
    ++count;
  }
  double mean() const { return count == 0 ? 0 : sum / count; }
};

std::vector<std::uint64_t> sizes_of(const footprint &found) {
  std::vector<std::uint64_t> sizes;
  for (const double each : shares_of_footprint) {
    const double size = static_cast<double>(found.nr_touched) * each;
    sizes.push_back(std::max<std::uint64_t>(1, static_cast<std::uint64_t>(size)));
  }
  return sizes;
}

errors compare_curves(const std::vector<touched_block> &touched, const footprint &found,
                      double &nanoseconds) {
  miss_ratio_curve curve;
  touch_counts all;
  const auto begun = std::chrono::steady_clock::now();
  for (const touched_block &each : touched) {
    const bool is_read = each.possible == promotion::by_copy;
    (is_read ? all.reads : all.writes) += 1;
    if (const std::uint64_t hash = sampling_hash(each.block); hash <= curve.largest_hash()) {
      curve.touch(hash, is_read);
    }
  }
  const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - begun;
  nanoseconds = took.count() / static_cast<double>(touched.size());
  const exact_curve exact{touched, found};
  errors of_curve;
  for (const std::uint64_t size : sizes_of(found)) {
    of_curve.add(curve.misses(size, all).all() / all.all() - exact.miss_ratio(size));
  }
  return of_curve;
}

double sift_miss_ratio(const std::vector<touched_block> &touched, scaled_cache &cache) {
  for (const touched_block &each : touched) {
    if (const std::uint64_t hash = sampling_hash(each.block); hash <= cache.largest_hash()) {
      cache.touch(hash, each.possible);
    }
  }
  return cache.misses().all() / std::max(1.0, cache.touches().all());
}

// Caches that have as many blocks as a copy of them has are no sample.
errors compare_copies(const std::vector<touched_block> &touched, const footprint &found,
                      sectors block_size) {
  errors of_copies;
  for (const std::uint64_t size : sizes_of(found)) {
    const policy_geometry geometry{size, found.nr_origin_blocks, block_size};
    if (size >= 2 * scaled_cache::usual_blocks) {
      scaled_cache whole{geometry, size};
      scaled_cache copy{geometry};
      of_copies.add(sift_miss_ratio(touched, copy) - sift_miss_ratio(touched, whole));
    }
  }
  return of_copies;
}

bool measure_trace(const std::string &path) {
  progress quiet{true};
  const auto trace = read_trace({.path = path}, quiet);
  if (!trace) {
    fmt::print(stderr, "bench_sizing: {}\n", trace.error().message);
    return false;
  }
  bool is_fine = true;
  fmt::print("{}\n", path);
  for (const std::uint64_t size : {4U << 10, 64U << 10, 256U << 10}) {
    const footprint found = measure(trace->requests, bytes{size});
    const auto touched = touches_of(trace->requests, bytes{size});
    double nanoseconds = 0;
    const errors lru = compare_curves(touched, found, nanoseconds);
    const errors sift = compare_copies(touched, found, sectors{size / sector_size});
    is_fine &= lru.mean() <= error_bar;
    fmt::print("  {:>3} KiB {:>6} of {:>8}  LRU {:.4f} (most {:.4f}; {:.0f} ns a touch)  sift ",
               size >> 10, found.nr_touched, touched.size(), lru.mean(), lru.largest, nanoseconds);
    fmt::print("{}\n", sift.count == 0
                           ? "-"
                           : fmt::format("{:.4f} (most {:.4f})", sift.mean(), sift.largest));
  }
  return is_fine;
}

} // namespace
} // namespace dmcache

int main(int argc, char **argv) {
  const std::vector<std::string> traces{argv + 1, argv + argc};
  fmt::print("mean errors of the share of touches that miss (bar for LRU: {})\n",
             dmcache::error_bar);
  bool is_fine = true;
  for (const std::string &each : traces) {
    is_fine &= dmcache::measure_trace(each);
  }
  return is_fine ? 0 : 1;
}
