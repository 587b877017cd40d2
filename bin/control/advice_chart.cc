#include "bin/control/advice_chart.h"

#include <utility>

namespace dmcache {
namespace {

// Reads and writes count alike.
double hit_percentage(double misses, double all) {
  constexpr double hundred = 100;
  return all > 0 ? hundred * (1 - misses / all) : 0;
}

} // namespace

chart chart_of(const size_advice &advice) {
  const auto mebibytes = [&](std::uint64_t nr_blocks) {
    constexpr double mebibyte = 1 << 20;
    return static_cast<double>(nr_blocks * to_bytes(advice.block_size).value()) / mebibyte;
  };
  const touch_counts &seen = advice.seen;
  chart_line lru{.name = "LRU", .points = {}};
  for (const auto &[nr_blocks, miss_ratio] : advice.curve) {
    lru.points.emplace_back(mebibytes(nr_blocks), hit_percentage(miss_ratio, 1));
  }
  chart_line sift{.name = "sift", .points = {}};
  for (const size_advice::of_size &each : advice.sizes) {
    const double misses = each.sift.reads * seen.reads + each.sift.writes * seen.writes;
    sift.points.emplace_back(mebibytes(each.nr_blocks), hit_percentage(misses, seen.all()));
  }
  // From the bottom up to what it hits, so that it can be seen among the others.
  const double size = mebibytes(advice.nr_blocks);
  chart_line measured{
      .name = "this cache, measured",
      .points = {{size, 0}, {size, hit_percentage(advice.missed.all(), seen.all())}}};
  return {.title = "What caches of other sizes would hit",
          .x_title = "Size of the cache (MiB)",
          .y_title = "Hits, of reads and writes (%)",
          .is_x_logarithmic = true,
          .lines = {std::move(lru), std::move(sift), std::move(measured)}};
}

} // namespace dmcache
