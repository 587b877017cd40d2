// Measures what a policy's decisions take, with a million cache blocks: bench_policy [ROUNDS]. Prints
// medians of the rounds, those of sift beside their bars, and exits with 1 if one is missed.

#include <ctime>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "base/chance.h"
#include "bench/report.h"
#include "caching/policy/policy.h"

namespace dmcache {
namespace {

constexpr std::uint64_t nr_cache_blocks = 1'000'000;
constexpr std::uint64_t nr_origin_blocks = 100 * nr_cache_blocks;
constexpr std::uint64_t nr_hits = 4'000'000;
constexpr std::uint64_t nr_misses = 2'000'000;
constexpr double hit_bar = 10;   // ns
constexpr double miss_bar = 100; // ns

// Of this thread: others use the machine as well.
std::chrono::nanoseconds time_used() {
  timespec used{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
  return std::chrono::seconds{used.tv_sec} + std::chrono::nanoseconds{used.tv_nsec};
}

double nanoseconds_since(std::chrono::nanoseconds start) {
  return static_cast<double>((time_used() - start).count());
}

// In a cache that is full of clean blocks.
class measured_policy {
 public:
  explicit measured_policy(std::string_view name)
      : policy_{make_policy(name, {nr_cache_blocks, nr_origin_blocks, sectors{512}}).value()} {
    for (std::uint64_t block = 0; block < nr_cache_blocks; ++block) {
      policy_->load(cache_block{block}, origin_block{block}, false, 1);
    }
  }

  double hit() {
    const auto start = time_used();
    for (std::uint64_t i = 0; i < nr_hits; ++i) {
      policy_->hit(cache_block{chance_.below(nr_cache_blocks)});
    }
    return nanoseconds_since(start) / nr_hits;
  }

  // None of which could be promoted.
  double miss() {
    const auto start = time_used();
    for (std::uint64_t i = 0; i < nr_misses; ++i) {
      policy_->miss(origin_block{chance_.below(nr_origin_blocks)}, promotion::none);
    }
    return nanoseconds_since(start) / nr_misses;
  }

  // Reads that are promoted if the policy likes, hits between them, and what makes room. Returns
  // how long it took at most to be asked for work until there is none.
  double longest_work() {
    double longest = 0;
    for (std::uint64_t i = 0; i < nr_misses; ++i) {
      const origin_block missed{chance_.below(nr_origin_blocks)};
      if (const auto into = policy_->miss(missed, promotion::by_copy)) {
        policy_->promoted(*into, true);
      }
      const auto start = time_used();
      while (const auto work = policy_->next_work(false)) {
        policy_->completed(*work, true);
      }
      longest = std::max(longest, nanoseconds_since(start));
    }
    return longest;
  }

 private:
  std::unique_ptr<policy> policy_;
  chance chance_{1};
};

int run(int rounds) {
  bool is_fine = true;
  for (const std::string_view name : {"sift", "smq"}) {
    std::vector<double> hits;
    std::vector<double> misses;
    std::vector<double> works;
    for (int i = 0; i < rounds; ++i) {
      measured_policy measured{name};
      hits.push_back(measured.hit());
      misses.push_back(measured.miss());
      works.push_back(measured.longest_work());
    }
    fmt::print("{}: {} cache blocks; asked for work, it takes {:.0f} us at most\n", name,
               nr_cache_blocks, median(works) / 1000);
    if (name == "sift") {
      is_fine &= report("  a hit", median(hits), "ns", hit_bar);
      is_fine &= report("  a miss", median(misses), "ns", miss_bar);
    } else {
      fmt::print("  a hit {:.1f} ns, a miss {:.1f} ns\n", median(hits), median(misses));
    }
  }
  return is_fine ? 0 : 1;
}

} // namespace
} // namespace dmcache

int main(int argc, char **argv) {
  return dmcache::run(argc > 1 ? std::max(1, std::atoi(argv[1])) : 5);
}
