#include <array>
#include <chrono>
#include <csignal>

#include "base/file_device.h"
#include "base/storage_layers.h"
#include "base/whole_number.h"
#include "bin/command.h"
#include "caching/tools/writeback.h"

namespace dmcache {
namespace {

// Static, since a signal handler has no other way to find it.
volatile std::sig_atomic_t stop_is_wanted = 0;

// From now on the first signal asks for an orderly stop, and the second one ends the process, which
// costs no more than the time to copy something again. A signal that is ignored, as by nohup, stays so.
void stop_on_signals() {
  struct sigaction on_first{};
  on_first.sa_handler = [](int) { stop_is_wanted = 1; };           // NOLINT: a macro
  on_first.sa_flags = static_cast<int>(SA_RESTART | SA_RESETHAND); // NOLINT: bits
  for (const int each : {SIGTERM, SIGINT, SIGHUP}) {
    struct sigaction before{};
    if (::sigaction(each, nullptr, &before) == 0 && before.sa_handler == SIG_DFL) { // NOLINT
      ::sigaction(each, &on_first, nullptr);
    }
  }
}

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
  return writeback_options{.buffer_size = *buffer << 20,
                           .nr_retries = *retries,
                           .list_failed = line.has("list-failed-blocks"),
                           .accepts_differing = std::ranges::count(forced, "differing") != 0,
                           .accepts_smaller = std::ranges::count(forced, "smaller") != 0,
                           .update_metadata = !line.has("no-metadata-update"),
                           .update_interval = std::chrono::seconds{*interval},
                           .is_stopped = [] { return stop_is_wanted != 0; }};
}

result<> write_back_devices(const command_line &line, const writeback_options &options,
                            report &to) {
  std::array devices{device_in_role{"metadata device", {}}, device_in_role{"fast device", {}},
                     device_in_role{"origin", {}}};
  for (std::size_t i = 0; i < devices.size(); ++i) {
    constexpr std::array named_by{"metadata-device", "fast-device", "origin-device"};
    auto part = line.part(named_by.at(i));
    if (!part) {
      return std::unexpected{part.error()};
    }
    devices.at(i).part = std::move(*part);
  }
  if (auto checked = check_that_they_differ(devices); !checked) {
    return checked;
  }
  const auto &[on_metadata, on_fast, on_origin] = devices;
  auto opened = open_files(
      std::array{part_to_open{on_metadata.part,
                              options.update_metadata ? access::read_write : access::read_only},
                 part_to_open{on_fast.part, access::read_only},
                 part_to_open{on_origin.part, access::read_write}});
  if (!opened) {
    return std::unexpected{opened.error()};
  }
  const auto metadata = open_metadata(std::move((*opened)[0]), on_metadata.part.path);
  if (!metadata) {
    return std::unexpected{metadata.error()};
  }
  const auto fast = make_file_device(std::move((*opened)[1]), on_fast.part.path);
  const auto origin = make_file_device(std::move((*opened)[2]), on_origin.part.path);
  if (!origin) {
    return std::unexpected{origin.error()};
  }
  if (!fast) {
    return std::unexpected{fast.error()};
  }
  stop_on_signals();
  return write_back(*metadata, **origin, **fast, options, to);
}

} // namespace

int run_cache_writeback(std::span<const std::string> arguments) {
  command_line line{
      "cache_writeback",
      "[OPTION...] --metadata-device DEVICE --origin-device DEVICE "
      "--fast-device DEVICE",
      "cache_writeback --metadata-device meta --origin-device slow --fast-device ssd"};
  line.add("metadata-device", "DEVICE", "the cache's metadata device");
  line.add("origin-device", "DEVICE", "the origin, which dirty blocks are copied to");
  line.add("fast-device", "DEVICE", "the fast (cache) device, which they are copied from");
  line.add("buffer-size-meg", "N", "memory for copying, in MiB (default: 64)");
  line.add("retry-count", "N", "how often to try again when a copy failed (default: 0)");
  line.add("list-failed-blocks", "print the cache blocks that could not be copied");
  line.add("no-metadata-update", "leave the dirty flags as they are");
  line.add("update-interval", "N",
           "seconds from clearing dirty flags to the next time (default: 10)");
  line.add_repeatable("force", "CHECK", "copy though devices look wrong: differing or smaller");
  line.add("quiet,q", "print nothing; the exit status tells");
  line.add_parts_of({"metadata-device", "fast-device", "origin-device"});
  if (const auto done =
          line.parse_with(arguments, {"metadata-device", "origin-device", "fast-device"})) {
    return *done;
  }
  const auto options = options_of(line);
  if (!options) {
    return line.refuse(options.error().message);
  }
  report to{"cache_writeback", line.has("quiet")};
  const auto written = write_back_devices(line, *options, to);
  return written ? 0 : to.failed(written.error());
}

} // namespace dmcache
