#include <functional>
#include <optional>

#include "bin/cache_devices.h"
#include "bin/command.h"
#include "bin/stop_signals.h"
#include "caching/tools/verify.h"

namespace dmcache {

int run_cache_verify(std::span<const std::string> arguments) {
  command_line line{
      "cache_verify",
      "[OPTION...] --metadata-device DEVICE --origin-device DEVICE --fast-device DEVICE",
      "cache_verify --metadata-device meta --origin-device slow --fast-device ssd"};
  add_device_options(line);
  line.add("list", "print each clean block that differs, and each dirty one that doesn't");
  line.add("clear-equal", "mark dirty blocks clean that are the same on the origin");
  line.add("drop-stale", "take clean blocks out of the cache that differ from the origin");
  line.add_repeatable("force", "CHECK", "change metadata though devices look wrong: differing");
  line.add("map", "FILE",
           "write which parts of the origin are the same, as a map file of ddrescue");
  line.add("json", "print the summary as JSON");
  line.add("quiet,q", "print nothing; the exit status tells");
  if (const auto done = line.parse_with(arguments, device_options)) {
    return *done;
  }
  for (const std::string &each : line.texts("force")) {
    if (each != "differing") {
      return line.refuse(fmt::format("'{}' can't be forced: differing can", each));
    }
  }
  verify_options options{.list = line.has("list"),
                         .clear_equal = line.has("clear-equal"),
                         .drop_stale = line.has("drop-stale"),
                         .accepts_differing = line.has("force"),
                         .as_json = line.has("json"),
                         .map_path =
                             line.has("map") ? std::optional{line.text("map")} : std::nullopt,
                         .names = names_of_devices(line),
                         .is_stopped = is_stop_wanted};
  report to{"cache_verify", line.has("quiet")};
  const bool is_changing = options.clear_equal || options.drop_stale;
  const auto devices = open_cache_devices(
      line, is_changing ? access::read_write : access::read_only, access::read_only);
  if (!devices) {
    return to.failed(devices.error());
  }
  options.origin_begin = devices->origin_begin;
  stop_on_signals();
  const auto verified = verify(devices->metadata, *devices->origin, *devices->fast, options, to);
  return to.ended(verified);
}

} // namespace dmcache
