#include "caching/replay/replay_report.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace dmcache {
namespace {

using json = nlohmann::ordered_json;

constexpr int json_indent = 2;

double in_mebibytes(std::uint64_t size) {
  return static_cast<double>(size) / (1 << 20);
}

double share_of(std::uint64_t part, std::uint64_t whole) {
  return static_cast<double>(part) / static_cast<double>(std::max<std::uint64_t>(1, whole));
}

double miss_ratio(const replay_counts &counts) {
  return share_of(counts.nr_misses, counts.nr_hits + counts.nr_misses);
}

std::uint64_t nr_reads(const trace &replayed) {
  return static_cast<std::uint64_t>(
      std::ranges::count(replayed.requests, false, &trace_request::is_write));
}

double duration(const trace &replayed) {
  return replayed.requests.empty() ? 0
                                   : replayed.requests.back().time - replayed.requests.front().time;
}

// As it can be given to --policy.
std::string name_of(const replayed_policy &chosen) {
  std::string name = chosen.name;
  for (const auto &[key, value] : chosen.settings) {
    name += fmt::format(":{}={}", key, value);
  }
  return name;
}

std::size_t longest_name(const std::vector<replayed_policy> &policies) {
  std::size_t longest = std::string_view{"policy"}.size();
  for (const replayed_policy &each : policies) {
    longest = std::max(longest, name_of(each).size());
  }
  return longest;
}

std::string_view name_of(replay_mode mode) {
  return mode == replay_mode::writeback ? "writeback" : "writethrough";
}

void add_rows(std::string &text, const replay_report &told, const replay_of_blocks &blocks,
              const replay_of_size &size, std::size_t width) {
  for (std::size_t i = 0; i < size.counts.size(); ++i) {
    const replay_counts &counts = size.counts[i];
    text += fmt::format(
        "{:>12.1f} {:>7.1f}% {:>9}  {:<{}} {:>10.4f} {:>10} {:>9} {:>12} {:>19.1f}\n",
        in_mebibytes(size.nr_cache_blocks * blocks.block_size.value()),
        100 * share_of(size.nr_cache_blocks, blocks.touched.nr_touched), size.nr_cache_blocks,
        name_of(told.plan.policies[i]), width, miss_ratio(counts), counts.nr_promotions,
        counts.nr_demotions, counts.nr_written_back, in_mebibytes(counts.written_to_fast));
  }
}

json outcome_of(const replayed_policy &chosen, const replay_of_blocks &blocks,
                std::uint64_t nr_cache_blocks, const replay_counts &counts) {
  return {{"policy", name_of(chosen)},
          {"block_size", blocks.block_size.value()},
          {"cache_size", nr_cache_blocks * blocks.block_size.value()},
          {"cache_blocks", nr_cache_blocks},
          {"touched_blocks", blocks.touched.nr_touched},
          {"hits", counts.nr_hits},
          {"misses", counts.nr_misses},
          {"miss_ratio", miss_ratio(counts)},
          {"promotions", counts.nr_promotions},
          {"demotions", counts.nr_demotions},
          {"written_back", counts.nr_written_back},
          {"bytes_to_fast_device", counts.written_to_fast}};
}

// One value of each policy, over the size of the cache.
template <typename Value>
chart chart_of(const replay_report &told, const replay_of_blocks &blocks, std::string y_title,
               Value value_of) {
  chart made{.title = fmt::format("{}, blocks of {} KiB", told.trace_name,
                                  blocks.block_size.value() / 1024),
             .x_title = "size of the cache in MiB",
             .y_title = std::move(y_title),
             .is_x_logarithmic = true,
             .lines = {}};
  for (std::size_t i = 0; i < told.plan.policies.size(); ++i) {
    chart_line line{name_of(told.plan.policies[i]), {}};
    for (const replay_of_size &size : blocks.sizes) {
      line.points.emplace_back(in_mebibytes(size.nr_cache_blocks * blocks.block_size.value()),
                               value_of(size.counts[i]));
    }
    std::ranges::sort(line.points);
    made.lines.push_back(std::move(line));
  }
  return made;
}

} // namespace

std::string as_table(const replay_report &told) {
  std::string text =
      fmt::format("{}: {} requests in {:.1f} s, {:.1f} % reads; a request counts for "
                  "each block that it touches\n",
                  told.trace_name, told.replayed.requests.size(), duration(told.replayed),
                  100 * share_of(nr_reads(told.replayed), told.replayed.requests.size()));
  const std::size_t width = longest_name(told.plan.policies);
  for (const replay_of_blocks &blocks : told.outcomes) {
    const footprint &touched = blocks.touched;
    text += fmt::format("\nblocks of {} KiB: {} are touched, {:.1f} MiB, {} times\n",
                        blocks.block_size.value() / 1024, touched.nr_touched,
                        in_mebibytes(touched.nr_touched * blocks.block_size.value()),
                        touched.nr_accesses);
    text += fmt::format("{:>12} {:>8} {:>9}  {:<{}} {:>10} {:>10} {:>9} {:>12} {:>19}\n",
                        "cache in MiB", "touched", "blocks", "policy", width, "miss ratio",
                        "promotions", "demotions", "written back", "MiB to fast device");
    for (const replay_of_size &size : blocks.sizes) {
      add_rows(text, told, blocks, size, width);
    }
  }
  text.pop_back(); // the end of the last line
  return text;
}

std::string as_json(const replay_report &told) {
  json outcomes = json::array();
  for (const replay_of_blocks &blocks : told.outcomes) {
    for (const replay_of_size &size : blocks.sizes) {
      for (std::size_t i = 0; i < size.counts.size(); ++i) {
        outcomes.push_back(
            outcome_of(told.plan.policies[i], blocks, size.nr_cache_blocks, size.counts[i]));
      }
    }
  }
  const json whole{
      {"trace", told.trace_name},           {"requests", told.replayed.requests.size()},
      {"reads", nr_reads(told.replayed)},   {"discards_left_out", told.replayed.nr_discards},
      {"seconds", duration(told.replayed)}, {"mode", name_of(told.plan.settings.mode)},
      {"delay", told.plan.settings.delay},  {"replays", std::move(outcomes)}};
  // A path may be anything, so bytes that are no UTF-8 are replaced.
  return whole.dump(json_indent, ' ', false, json::error_handler_t::replace);
}

std::vector<chart> as_charts(const replay_report &told) {
  std::vector<chart> charts;
  for (const replay_of_blocks &blocks : told.outcomes) {
    charts.push_back(chart_of(told, blocks, "share of accesses that miss", miss_ratio));
    charts.push_back(
        chart_of(told, blocks, "MiB written to the fast device",
                 [](const replay_counts &counts) { return in_mebibytes(counts.written_to_fast); }));
  }
  return charts;
}

} // namespace dmcache
