#include <chrono>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/algorithm/string.hpp>

#include "base/whole_number.h"
#include "bin/cache_devices.h"
#include "bin/command.h"
#include "bin/stop_signals.h"
#include "caching/tools/writeback.h"

namespace dmcache {
namespace {

result<std::uint64_t> number(const command_line &line, const char *option, const char *otherwise,
                             std::uint64_t max) {
  const std::string text = line.text_or(option, otherwise);
  const auto value = whole_number<std::uint64_t>(text);
  if (!value || *value > max) {
    return fail(failure::usage,
                fmt::format("--{} takes a whole number up to {}, not '{}'", option, max, text));
  }
  return *value;
}

// "5,7-19": cache blocks, the last of a range included.
result<std::vector<cache_block_range>> excluded_in(const command_line &line) {
  std::vector<cache_block_range> ranges;
  for (const std::string &list : line.texts("exclude")) {
    std::vector<std::string> parts;
    boost::algorithm::split(parts, list, [](char each) { return each == ','; });
    for (const std::string_view part : parts) {
      const std::size_t dash = part.find('-');
      const auto first = whole_number<std::uint32_t>(part.substr(0, dash));
      const auto last = dash == std::string_view::npos
                            ? first
                            : whole_number<std::uint32_t>(part.substr(dash + 1));
      if (!first || !last || *last < *first) {
        return fail(failure::usage,
                    fmt::format("--exclude takes cache blocks, such as 5,7-19, not '{}'", list));
      }
      ranges.push_back({cache_block{*first}, cache_block{*last} + 1});
    }
  }
  return ranges;
}

result<std::optional<rescue_map>> map_in(const command_line &line) {
  if (!line.has("fast-device-map")) {
    return std::nullopt;
  }
  return read_rescue_map(line.text("fast-device-map"));
}

result<writeback_options> options_of(const command_line &line) {
  constexpr std::uint64_t max_buffer = 65536; // MiB
  constexpr std::uint64_t max_retries = 1000000;
  constexpr std::uint64_t max_interval = 86400; // seconds
  const auto buffer = number(line, "buffer-size-meg", "64", max_buffer);
  if (!buffer) {
    return std::unexpected{buffer.error()};
  }
  const auto retries = number(line, "retry-count", "0", max_retries);
  if (!retries) {
    return std::unexpected{retries.error()};
  }
  const auto interval = number(line, "update-interval", "10", max_interval);
  if (!interval) {
    return std::unexpected{interval.error()};
  }
  const std::vector<std::string> forced = line.texts("force");
  for (const std::string &each : forced) {
    if (each != "differing" && each != "smaller") {
      return fail(failure::usage,
                  fmt::format("'{}' can't be forced: differing and smaller can", each));
    }
  }
  auto excluded = excluded_in(line);
  if (!excluded) {
    return std::unexpected{excluded.error()};
  }
  auto map = map_in(line);
  if (!map) {
    return std::unexpected{map.error()};
  }
  return writeback_options{.buffer_size = *buffer << 20,
                           .nr_retries = *retries,
                           .list_failed = line.has("list-failed-blocks"),
                           .accepts_differing = std::ranges::count(forced, "differing") != 0,
                           .accepts_smaller = std::ranges::count(forced, "smaller") != 0,
                           .excluded = std::move(*excluded),
                           .fast_map = std::move(*map),
                           .only_plan = line.has("dry-run"),
                           .as_json = line.has("json"),
                           .names = names_of_devices(line),
                           .update_metadata = !line.has("no-metadata-update"),
                           .update_interval = std::chrono::seconds{*interval},
                           .is_stopped = is_stop_wanted};
}

result<> write_back_devices(const command_line &line, writeback_options options, report &to) {
  const bool is_updating = options.update_metadata && !options.only_plan;
  const auto devices = open_cache_devices(
      line, is_updating ? access::read_write : access::read_only, access::read_write);
  if (!devices) {
    return std::unexpected{devices.error()};
  }
  options.fast_begin = devices->fast_begin;
  stop_on_signals();
  return write_back(devices->metadata, *devices->origin, *devices->fast, options, to);
}

} // namespace

int run_cache_writeback(std::span<const std::string> arguments) {
  command_line line{
      "cache_writeback",
      "[OPTION...] --metadata-device DEVICE --origin-device DEVICE "
      "--fast-device DEVICE",
      "cache_writeback --metadata-device meta --origin-device slow --fast-device ssd"};
  add_device_options(line);
  line.add("buffer-size-meg", "N", "memory for copying at most, in MiB (default: 64)");
  line.add("retry-count", "N", "how often to try again when a copy failed (default: 0)");
  line.add("dry-run", "say what would be copied, and write nothing");
  line.add_repeatable("exclude", "BLOCKS", "leave these cache blocks dirty: 5,7-19");
  line.add("fast-device-map", "FILE",
           "leave dirty what this map file of ddrescue says wasn't read from the fast device");
  line.add("json", "print the summary as JSON");
  line.add("list-failed-blocks", "print the cache blocks that could not be copied");
  line.add("no-metadata-update", "leave the dirty flags as they are");
  line.add("update-interval", "N",
           "seconds from clearing dirty flags to the next time (default: 10)");
  line.add_repeatable("force", "CHECK", "copy though devices look wrong: differing or smaller");
  line.add("quiet,q", "print nothing; the exit status tells");
  if (const auto done = line.parse_with(arguments, device_options)) {
    return *done;
  }
  const auto options = options_of(line);
  report to{"cache_writeback", line.has("quiet")};
  if (!options) {
    return options.error().kind == failure::usage ? line.refuse(options.error().message)
                                                  : to.failed(options.error());
  }
  const auto written = write_back_devices(line, *options, to);
  return to.ended(written);
}

} // namespace dmcache
