#include "bench/replay/generate_trace.h"

#include <algorithm>
#include <random>

namespace dmcache {
namespace {

constexpr std::uint64_t area_sectors = 512; // what is hot is hot by 256 KiB
constexpr std::uint64_t nr_areas = 32768;   // of the device: 8 GiB
constexpr std::uint64_t nr_hot = 2048;
constexpr double length = 3600;       // seconds
constexpr double mean_gap = 0.04;     // between requests
constexpr double hot_change = 2;      // seconds, after which another area gets hot
constexpr double scan_interval = 400; // seconds
constexpr std::uint64_t scan_areas = 1024;
constexpr std::uint64_t scan_request = 256; // sectors
constexpr double pause_interval = 250;      // seconds
constexpr double pause = 20;                // seconds

// The distributions of the standard library differ between its implementations, so everything is
// made of the generator's integers here.
class generator {
 public:
  explicit generator(std::uint64_t seed) : chance_{seed} {
    for (std::uint64_t rank = 1; rank <= nr_hot; ++rank) {
      hot_.push_back(below(nr_areas));
      total_weight_ += weight_of_first / rank;
      weights_up_to_.push_back(total_weight_);
    }
  }

  std::vector<trace_request> run() {
    double next_change = hot_change;
    double next_scan = scan_interval;
    double next_pause = pause_interval;
    while (now_ < length) {
      if (now_ >= next_change) {
        hot_[below(nr_hot)] = below(nr_areas);
        next_change += hot_change;
      }
      if (now_ >= next_scan) {
        scan();
        next_scan += scan_interval;
      }
      if (now_ >= next_pause) {
        now_ += pause;
        next_pause += pause_interval;
      }
      one();
    }
    return std::move(requests_);
  }

 private:
  static constexpr std::uint64_t weight_of_first = 1 << 20; // the n-th has an n-th of it

  std::uint64_t below(std::uint64_t end) { return chance_() % end; }

  void add(bool is_write, std::uint64_t start, std::uint64_t nr_sectors) {
    requests_.push_back({now_, is_write, sectors{start}, to_bytes(sectors{nr_sectors})});
  }

  // Adds a request of 4 to 64 KiB, somewhere in a hot area; one of ten goes anywhere.
  void one() {
    now_ += mean_gap * 2 * static_cast<double>(below(1000)) / 1000;
    const auto rank = static_cast<std::size_t>(
        std::ranges::upper_bound(weights_up_to_, below(total_weight_)) - weights_up_to_.begin());
    const std::uint64_t area = below(10) == 0 ? below(nr_areas) : hot_[rank];
    const std::uint64_t size = std::uint64_t{8} << below(5);
    const bool is_write = below(10) < 3;
    add(is_write, area * area_sectors + below((area_sectors - size) / 8) * 8, size);
  }

  // Reads a part of the device once, in order.
  void scan() {
    const std::uint64_t start = below(nr_areas - scan_areas) * area_sectors;
    for (std::uint64_t at = 0; at < scan_areas * area_sectors; at += scan_request) {
      now_ += mean_gap / 10;
      add(false, start + at, scan_request);
    }
  }

  std::mt19937_64 chance_;
  std::vector<std::uint64_t> hot_; // areas, by rank
  std::vector<std::uint64_t> weights_up_to_;
  std::uint64_t total_weight_ = 0;
  double now_ = 0;
  std::vector<trace_request> requests_;
};

} // namespace

trace generate_trace(std::uint64_t seed) {
  return {generator{seed}.run()};
}

} // namespace dmcache
