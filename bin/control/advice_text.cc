#include "bin/control/advice_text.h"

#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>

#include "bin/control/status_text.h"

namespace dmcache {
namespace {

constexpr double hundred = 100;

// The places of the sizes in advice.sizes, and what they are called.
constexpr std::array names_of_sizes{"a quarter", "half", "this cache", "twice", "four times"};
constexpr std::size_t half_the_cache = 1;
constexpr std::size_t this_cache = 2;
constexpr std::size_t twice_the_cache = 3;

std::string share(double part, double whole) {
  return whole > 0 ? fmt::format("{:.1f} %", hundred * part / whole) : "-";
}

// By how much the origin's reads would change, in percent: above zero if there would be more.
double change_of_reads(double miss_ratio, double miss_ratio_now) {
  return miss_ratio_now > 0 ? hundred * (miss_ratio / miss_ratio_now - 1) : 0;
}

std::string size_of(const size_advice &advice, std::uint64_t nr_blocks) {
  return readable_size(bytes{nr_blocks * to_bytes(advice.block_size).value()});
}

std::string line_of_size(const size_advice &advice, std::size_t number) {
  const size_advice::of_size &of = advice.sizes[number];
  const double change = change_of_reads(of.sift.reads, advice.sizes[this_cache].sift.reads);
  return fmt::format(
      "{:<12}{:>10}  LRU {:>5.1f} %, sift {:>5.1f} %{}\n", names_of_sizes.at(number),
      size_of(advice, of.nr_blocks), hundred * (1 - of.lru.reads), hundred * (1 - of.sift.reads),
      number == this_cache ? "" : fmt::format("; {:+.0f} % reads of the origin", change));
}

// "12 % (LRU: 15 %)", of more or of less, whichever is meant.
std::string both(double of_sift, double of_lru) {
  const auto bounded = [](double each) { return std::max(0.0, std::round(each)); };
  return fmt::format("{:.0f} % (LRU: {:.0f} %)", bounded(of_sift), bounded(of_lru));
}

std::string conclusion(const size_advice &advice) {
  const size_advice::of_size &half = advice.sizes[half_the_cache];
  const size_advice::of_size &now = advice.sizes[this_cache];
  const size_advice::of_size &twice = advice.sizes[twice_the_cache];
  return fmt::format(
      "Twice the cache, {}, would save {} of the origin's reads; half of it, {}, would "
      "cost {} more.\n",
      size_of(advice, twice.nr_blocks),
      both(-change_of_reads(twice.sift.reads, now.sift.reads),
           -change_of_reads(twice.lru.reads, now.lru.reads)),
      size_of(advice, half.nr_blocks),
      both(change_of_reads(half.sift.reads, now.sift.reads),
           change_of_reads(half.lru.reads, now.lru.reads)));
}

} // namespace

std::string readable_advice(const size_advice &advice) {
  const auto hits = [&](double touch_counts::*kind) {
    return share(advice.seen.*kind - advice.missed.*kind, advice.seen.*kind);
  };
  std::string text =
      fmt::format("{:<12}{:.0f} reads, {} hit; {:.0f} writes, {} hit\n", "seen", advice.seen.reads,
                  hits(&touch_counts::reads), advice.seen.writes, hits(&touch_counts::writes));
  if (advice.progress < 1) {
    return text +
           fmt::format("Not enough seen yet: {:.0f} % of what it takes to tell how large the "
                       "cache should be. Ask again later.\n",
                       std::floor(hundred * advice.progress));
  }
  if (advice.seen.reads < 1 || advice.sizes.size() != names_of_sizes.size()) {
    return text + "Nothing was read, so no cache of another size would spare the origin a read.\n";
  }
  text += "Of the reads would hit, with the policies LRU and sift:\n";
  for (std::size_t i = 0; i < advice.sizes.size(); ++i) {
    text += line_of_size(advice, i);
  }
  return text + conclusion(advice);
}

} // namespace dmcache
