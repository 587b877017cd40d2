#include <algorithm>
#include <charconv>

#include "base/output_file.h"
#include "base/report.h"
#include "base/size_text.h"
#include "base/storage_layers.h"
#include "base/whole_number.h"
#include "bin/command.h"
#include "caching/metadata/superblock.h"
#include "caching/replay/read_trace.h"
#include "caching/replay/replay.h"
#include "caching/replay/replay_report.h"

namespace dmcache {
namespace {

constexpr const char *default_policies = "lru,smq,sift";
constexpr const char *default_block_sizes = "64k,256k";
constexpr const char *default_cache_sizes = "1%,2%,5%,10%,20%,50%";

// What stands between the separators.
std::vector<std::string> parts_of(std::string_view text, char separator) {
  std::vector<std::string> parts;
  while (true) {
    const std::size_t end = text.find(separator);
    parts.emplace_back(text.substr(0, end));
    if (end == std::string_view::npos) {
      return parts;
    }
    text.remove_prefix(end + 1);
  }
}

// Reads a list of values, each by `parse`.
template <typename Value>
result<std::vector<Value>> list_of(const std::string &text,
                                   result<Value> (*parse)(const std::string &text)) {
  std::vector<Value> values;
  for (const std::string &each : parts_of(text, ',')) {
    auto value = parse(each);
    if (!value) {
      return std::unexpected{value.error()};
    }
    values.push_back(std::move(*value));
  }
  return values;
}

// "sift:read_touches=3"
result<replayed_policy> parse_policy(const std::string &text) {
  const std::vector<std::string> parts = parts_of(text, ':');
  replayed_policy chosen{parts.front(), {}};
  for (const std::string &each : std::span{parts}.subspan(1)) {
    const std::size_t equals = each.find('=');
    if (equals == std::string::npos || equals == 0) {
      return fail(failure::usage, fmt::format("--policy takes NAME:KEY=VALUE, not '{}'", text));
    }
    chosen.settings.emplace_back(each.substr(0, equals), each.substr(equals + 1));
  }
  if (auto checked = check_replayed_policy(chosen); !checked) {
    return std::unexpected{checked.error()};
  }
  return chosen;
}

result<bytes> parse_block_size(const std::string &text) {
  const auto size = parse_sectors("--block-size", text, bare_number::is_refused);
  if (!size) {
    return std::unexpected{size.error()};
  }
  if (!is_legal_data_block_size(size->value())) {
    return fail(failure::usage,
                fmt::format("--block-size is a multiple of 32k up to 1g, not {}", text));
  }
  return to_bytes(*size);
}

// "512m", or "5%" of what the trace touches.
result<replayed_size> parse_cache_size(const std::string &text) {
  if (text.ends_with('%')) {
    double percent = 0;
    const char *const end = text.data() + text.size() - 1;
    const auto read = std::from_chars(text.data(), end, percent);
    if (read.ec != std::errc{} || read.ptr != end || !(percent > 0 && percent <= 100)) {
      return fail(failure::usage,
                  fmt::format("--cache-size: '{}' is no part of what is touched", text));
    }
    return replayed_size{{}, percent};
  }
  const auto size = parse_size(text, bare_number::is_refused);
  if (!size) {
    return fail(failure::usage, fmt::format("--cache-size: {}", size.error().message));
  }
  if (*size == bytes{}) {
    return fail(failure::usage, "--cache-size: a cache without any room is none");
  }
  return replayed_size{*size, 0};
}

result<replay_settings> settings_of(const command_line &line) {
  replay_settings settings;
  const std::string mode = line.text_or("mode", "writeback");
  if (mode != "writeback" && mode != "writethrough") {
    return fail(failure::usage,
                fmt::format("'{}' is no mode: give writeback or writethrough", mode));
  }
  settings.mode = mode == "writeback" ? replay_mode::writeback : replay_mode::writethrough;
  const auto delay = whole_number<std::uint32_t>(line.text_or("delay", "0"));
  if (!delay) {
    return fail(failure::usage, fmt::format("'{}' is no number of requests", line.text("delay")));
  }
  settings.delay = *delay;
  return settings;
}

result<replay_plan> plan_of(const command_line &line) {
  auto block_sizes = list_of(line.text_or("block-size", default_block_sizes), parse_block_size);
  if (!block_sizes) {
    return std::unexpected{block_sizes.error()};
  }
  auto cache_sizes = list_of(line.text_or("cache-size", default_cache_sizes), parse_cache_size);
  if (!cache_sizes) {
    return std::unexpected{cache_sizes.error()};
  }
  auto policies = list_of(line.text_or("policy", default_policies), parse_policy);
  if (!policies) {
    return std::unexpected{policies.error()};
  }
  const auto settings = settings_of(line);
  if (!settings) {
    return std::unexpected{settings.error()};
  }
  return replay_plan{std::move(*block_sizes), std::move(*cache_sizes), std::move(*policies),
                     *settings};
}

result<trace_source> source_of(const command_line &line) {
  trace_source source{.path = line.operand()};
  if (line.has("format")) {
    source.format = value_in(trace_formats, line.text("format"));
    if (!source.format) {
      return fail(failure::usage,
                  fmt::format("'{}' is no format: give csv, blkparse, fio or biosnoop",
                              line.text("format")));
    }
  }
  if (line.has("event")) {
    const std::string event = line.text("event");
    if (event != "Q" && event != "D" && event != "C") {
      return fail(failure::usage,
                  fmt::format("'{}' is no event that can be replayed: give Q (queued), D (issued) "
                              "or C (completed)",
                              event));
    }
    source.event = event.front();
  }
  if (line.has("device")) {
    source.device = line.text("device");
  }
  return source;
}

result<> replay_trace(const command_line &line, const trace_source &source, const replay_plan &plan,
                      report &to) {
  const std::string svg = line.text_or("svg", "");
  if (auto apart = check_that_they_are_apart(source.path, svg); !svg.empty() && !apart) {
    return apart;
  }
  const auto replayed = read_trace(source, to.watcher());
  if (!replayed) {
    return std::unexpected{replayed.error()};
  }
  if (replayed->nr_discards > 0) {
    to.problem(fmt::format("{} discards are left out", replayed->nr_discards));
  }
  const auto outcomes = replay_all(*replayed, plan, to.watcher());
  if (!outcomes) {
    return std::unexpected{outcomes.error()};
  }
  if (svg == "-") {
    to.keep_off_standard_output();
  }
  const replay_report told{source.path == "-" ? "standard input" : source.path, *replayed, plan,
                           *outcomes};
  to.answer(line.has("json") ? as_json(told) : as_table(told));
  return svg.empty() ? result<>{} : write_output(svg, svg_of(as_charts(told)));
}

} // namespace

int run_cache_replay(std::span<const std::string> arguments) {
  command_line line{
      "cache_replay", "[OPTION...] TRACE",
      "cache_replay --block-size 64k --cache-size 5%,1g,4g --svg misses.svg trace.gz"};
  line.take_operand("TRACE");
  line.add("format", "FORMAT", "csv, blkparse, fio or biosnoop (default: by the trace's content)");
  line.add("device", "NAME", "replay the requests to this device or file only");
  line.add("event", "LETTER", "what counts of blkparse's events: Q (default), D or C");
  line.add("policy", "POLICY,...",
           "lru or one of the cache's, with settings or not (default: lru,smq,sift)");
  line.add("block-size", "SIZE,...", "of a cache block (default: 64k,256k)");
  line.add("cache-size", "SIZE,...",
           "of the cache; N% is a part of what the trace touches (default: 1% to 50%)");
  line.add("mode", "MODE", "writeback (default) or writethrough");
  line.add("delay", "N", "promotions, demotions and writing back take as long as N requests");
  line.add("json", "print the outcomes as JSON");
  line.add("svg", "FILE", "draw misses and writes over the size of the cache; - is stdout");
  if (const auto done = line.parse(arguments)) {
    return *done;
  }
  const auto plan = plan_of(line);
  if (!plan) {
    return line.refuse(plan.error().message);
  }
  const auto source = source_of(line);
  if (!source) {
    return line.refuse(source.error().message);
  }
  report to{"cache_replay", false};
  return to.ended(replay_trace(line, *source, *plan, to));
}

} // namespace dmcache
