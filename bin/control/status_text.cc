#include "bin/control/status_text.h"

#include <array>
#include <cmath>
#include <cstdint>
#include <optional>

#include <fmt/format.h>

#include "bin/control/status_json.h"
#include "caching/metadata/metadata_size.h"
#include "caching/runtime/trouble_log.h"

namespace dmcache {
namespace {

std::string percent(std::uint64_t part, std::uint64_t whole) {
  constexpr double hundred = 100;
  return whole == 0 ? "-"
                    : fmt::format("{:.1f} %",
                                  hundred * static_cast<double>(part) / static_cast<double>(whole));
}

double seconds_between(const status_sample &before, const status_sample &now) {
  return std::chrono::duration<double>(now.taken - before.taken).count();
}

std::string per_second(std::uint64_t count, double seconds) {
  return fmt::format("{:.0f}/s", seconds > 0 ? static_cast<double>(count) / seconds : 0.0);
}

struct hit_counts {
  std::uint32_t hits;
  std::uint32_t misses;
};

std::string hits_line(std::string_view title, hit_counts now, std::optional<hit_counts> before,
                      double seconds) {
  const std::uint64_t all = std::uint64_t{now.hits} + now.misses;
  std::string line = fmt::format("{:<12}{} hits, {} misses: {} hit", title, now.hits, now.misses,
                                 percent(now.hits, all));
  if (before) {
    const std::uint32_t hits = now.hits - before->hits; // they wrap
    const std::uint64_t recent = std::uint64_t{hits} + (now.misses - before->misses);
    line += fmt::format("; now {}, {} hit", per_second(recent, seconds), percent(hits, recent));
  }
  return line + '\n';
}

std::string migrations_line(const status_sample &now, const status_sample *before) {
  const cache_counts &all = now.status.counts;
  std::string line =
      fmt::format("{:<12}{} promotions, {} demotions, {} writebacks, {} under way", "migrations",
                  all.promotions, all.demotions, all.writebacks, now.status.migrating);
  if (before != nullptr) {
    const cache_counts &old = before->status.counts;
    const double seconds = seconds_between(*before, now);
    line += fmt::format("; now {}, {}, {}", per_second(all.promotions - old.promotions, seconds),
                        per_second(all.demotions - old.demotions, seconds),
                        per_second(all.writebacks - old.writebacks, seconds));
  }
  return line + '\n';
}

// What somebody has to do something about.
std::string troubles(const engine_status &status) {
  std::string text;
  if (status.counts.migration_errors != 0 || status.counts.fast_errors_served != 0) {
    text += fmt::format("{:<12}{} promotions, demotions and writebacks failed, {} reads that the "
                        "fast device failed were served from the origin\n",
                        "errors", status.counts.migration_errors, status.counts.fast_errors_served);
  }
  if (const auto shortage = metadata_shortage_of(status); !shortage.empty()) {
    text += fmt::format("{:<12}{}\n", "room", shortage);
  }
  if (const auto trouble = trouble_of(status.mode_of_metadata); !trouble.empty()) {
    text += fmt::format("{:<12}{}\n", "trouble", trouble);
  }
  if (status.needs_check) { // which keeps the cache from being served again
    text += "NEEDS_CHECK is set: stop, run cache_check, and if it finds nothing, cache_check "
            "--clear-needs-check-flag.\n";
  }
  return text;
}

} // namespace

std::string readable_size(bytes size) {
  constexpr std::array<std::string_view, 5> units{"bytes", "KiB", "MiB", "GiB", "TiB"};
  constexpr double factor = 1024;
  auto value = static_cast<double>(size.value());
  std::size_t unit = 0;
  for (; value >= factor && unit + 1 < units.size(); ++unit) {
    value /= factor;
  }
  return value == std::floor(value) ? fmt::format("{:.0f} {}", value, units.at(unit))
                                    : fmt::format("{:.1f} {}", value, units.at(unit));
}

std::string readable_status(const status_sample &now, const status_sample *before) {
  const engine_status &is = now.status;
  const double seconds = before == nullptr ? 0 : seconds_between(*before, now);
  const auto counts_before = [&](auto hits, auto misses) {
    return before == nullptr ? std::nullopt
                             : std::optional{hit_counts{before->status.statistics.*hits,
                                                        before->status.statistics.*misses}};
  };
  std::string text =
      fmt::format("{:<12}{}, policy {}, migration threshold {}{}{}\n", "mode", name_of(is.mode),
                  is.policy, readable_size(to_bytes(is.migration_threshold)),
                  is.cleaning == cleaning_trigger::on_request ? ", cleaning on request" : "",
                  is.is_read_only ? ", read-only" : "");
  text += fmt::format("{:<12}{}\n", "origin", readable_size(to_bytes(is.origin_size)));
  text += fmt::format("{:<12}{} blocks of {}: {} used ({}), {} dirty ({}{})\n", "cache",
                      is.cache_total, readable_size(to_bytes(is.block_size)), is.cache_used,
                      percent(is.cache_used, is.cache_total), is.dirty,
                      percent(is.dirty, is.cache_total),
                      is.max_dirty < is.cache_total
                          ? fmt::format("; at most {}", percent(is.max_dirty, is.cache_total))
                          : "");
  text += fmt::format("{:<12}{} of {} blocks used ({}), format {}, {} commits, dirty bits {}\n",
                      "metadata", is.metadata_used, is.metadata_total,
                      percent(is.metadata_used, is.metadata_total), is.metadata_version,
                      is.counts.commits, name_of(is.tracking));
  const cache_statistics &served = is.statistics;
  text += hits_line("reads", {served.read_hits, served.read_misses},
                    counts_before(&cache_statistics::read_hits, &cache_statistics::read_misses),
                    seconds);
  text += hits_line("writes", {served.write_hits, served.write_misses},
                    counts_before(&cache_statistics::write_hits, &cache_statistics::write_misses),
                    seconds);
  return text + migrations_line(now, before) + troubles(is);
}

// As much memory as bench_engine lets a cache block take, whatever the policy.
std::string description_of_new(const engine_status &status) {
  constexpr std::uint64_t memory_of_block = 32;
  return fmt::format("a new cache of {}: {} blocks of {}; when it is full it takes up to {} of "
                     "memory, and {} of the "
                     "metadata device",
                     readable_size(bytes{status.cache_total * to_bytes(status.block_size).value()}),
                     status.cache_total, readable_size(to_bytes(status.block_size)),
                     readable_size(bytes{status.cache_total * memory_of_block}),
                     readable_size(smallest_metadata_size(status.cache_total)));
}

std::string incompleteness_of(const engine_status &status) {
  if (status.dirty == 0) {
    return "";
  }
  const bool is_one = status.dirty == 1;
  return fmt::format(
      "{} dirty block{}, {}, {} on the fast device alone: the origin is not complete "
      "without it",
      status.dirty, is_one ? "" : "s",
      readable_size(bytes{status.dirty * to_bytes(status.block_size).value()}),
      is_one ? "is" : "are");
}

std::string metadata_shortage_of(const engine_status &status) {
  if (!is_nearly_full(status.metadata_used, status.metadata_total)) {
    return "";
  }
  return fmt::format(
      "{} of {} metadata blocks are in use: when none is left, nothing new is cached: "
      "restore a dump to a larger device (see cache_metadata_size)",
      status.metadata_used, status.metadata_total);
}

} // namespace dmcache
