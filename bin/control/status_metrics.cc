#include "bin/control/status_metrics.h"

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "bin/control/status_json.h"

namespace dmcache {
namespace {

struct sample {
  std::string labels; // all but `cache`
  std::uint64_t value;
};

struct metric {
  std::string_view type;
  std::string_view name; // of a counter, without _total
  std::string_view help;
  std::vector<sample> samples;
};

metric counter(std::string_view name, std::string_view help, std::uint64_t value) {
  return {"counter", name, help, {{"", value}}};
}

metric gauge(std::string_view name, std::string_view help, std::uint64_t value) {
  return {"gauge", name, help, {{"", value}}};
}

metric gauge(std::string_view name, std::string_view help, sectors size) {
  return gauge(name, help, to_bytes(size).value());
}

// The present state is 1, and all others are 0. OpenMetrics has types of its own for this ("state
// set") and for `info` below ("info"), but readers of the older format, such as the node exporter,
// know neither.
template <typename Mode, std::size_t N>
metric state_set(std::string_view name, std::string_view help, const named_values<Mode, N> &all,
                 Mode present) {
  metric made{"gauge", name, help, {}};
  for (const auto &[mode, its_name] : all) {
    made.samples.push_back({fmt::format("{}=\"{}\"", name, its_name), mode == present ? 1U : 0U});
  }
  return made;
}

std::string escaped(std::string_view label) {
  std::string text;
  for (const char each : label) {
    if (each == '\n') {
      text += "\\n";
      continue;
    }
    if (each == '\\' || each == '"') {
      text += '\\';
    }
    text += each;
  }
  return text;
}

std::string text_of(const metric &told, std::string_view cache) {
  std::string text = fmt::format("# TYPE dmcache_{} {}\n", told.name, told.type);
  if (told.name.ends_with("_bytes")) {
    text += fmt::format("# UNIT dmcache_{} bytes\n", told.name);
  }
  text += fmt::format("# HELP dmcache_{} {}\n", told.name, told.help);
  const std::string_view suffix = told.type == "counter" ? "_total" : "";
  for (const auto &[labels, value] : told.samples) {
    text += fmt::format("dmcache_{}{}{{cache=\"{}\"{}{}}} {}\n", told.name, suffix, escaped(cache),
                        labels.empty() ? "" : ",", labels, value);
  }
  return text;
}

std::vector<metric> counters(const engine_status &status) {
  const cache_statistics &served = status.statistics;
  const cache_counts &counts = status.counts;
  return {
      {"counter",
       "requests",
       "Requests, cut at block boundaries; modulo 2^32, and kept over restarts.",
       {{R"(operation="read",outcome="hit")", served.read_hits},
        {R"(operation="read",outcome="miss")", served.read_misses},
        {R"(operation="write",outcome="hit")", served.write_hits},
        {R"(operation="write",outcome="miss")", served.write_misses}}},
      counter("promotions", "Blocks that came into the cache.", counts.promotions),
      counter("demotions", "Blocks that left the cache.", counts.demotions),
      counter("writebacks", "Dirty blocks copied to the origin.", counts.writebacks),
      counter("migration_errors", "Promotions, demotions and writebacks that failed.",
              counts.migration_errors),
      counter("fast_errors_served", "Reads that the fast device failed and the origin served.",
              counts.fast_errors_served),
      counter("commits", "Transactions of the metadata.", counts.commits),
  };
}

std::vector<metric> gauges(const engine_status &status) {
  return {
      gauge("origin_size_bytes", "Size of the origin.", status.origin_size),
      gauge("block_size_bytes", "Size of a cache block.", status.block_size),
      gauge("migration_threshold_bytes", "How much is copied at a time in the background.",
            status.migration_threshold),
      gauge("cache_blocks", "Blocks of the cache.", status.cache_total),
      gauge("cache_blocks_used", "Blocks that are mapped.", status.cache_used),
      gauge("cache_blocks_dirty", "Blocks that are newer than the origin's.", status.dirty),
      gauge("cache_blocks_dirty_max", "How many of them there may be.", status.max_dirty),
      gauge("cache_blocks_migrating", "Migrations under way.", status.migrating),
      gauge("metadata_blocks", "Blocks of the metadata.", status.metadata_total),
      gauge("metadata_blocks_used", "Blocks of the metadata in use.", status.metadata_used),
      gauge("needs_check", "1 if the metadata have to be checked.",
            std::uint64_t{status.needs_check}),
  };
}

std::vector<metric> states(const engine_status &status) {
  return {
      state_set("mode", "What becomes of writes.", cache_modes, status.mode),
      state_set("cleaning", "What dirty blocks are written back by.", cleaning_triggers,
                status.cleaning),
      state_set("metadata_mode", "How far the metadata can be relied on.", metadata_modes,
                status.mode_of_metadata),
      state_set("dirty_tracking", "When the metadata say what is dirty.", dirty_trackings,
                status.tracking),
      {"gauge",
       "info",
       "What doesn't change by itself.",
       {{fmt::format("policy=\"{}\",metadata_version=\"{}\"", escaped(status.policy),
                     status.metadata_version),
         1}}},
  };
}

} // namespace

std::string metrics_text(const engine_status &status, std::string_view cache) {
  std::string text;
  for (const auto &some : {counters(status), gauges(status), states(status)}) {
    for (const metric &each : some) {
      text += text_of(each, cache);
    }
  }
  return text + "# EOF\n";
}

} // namespace dmcache
