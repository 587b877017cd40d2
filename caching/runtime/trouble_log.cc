#include "caching/runtime/trouble_log.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "caching/engine/io_description.h"

namespace dmcache {
std::string_view trouble_of(metadata_mode mode) {
  switch (mode) {
  case metadata_mode::untouched:
  case metadata_mode::write:
    return "";
  case metadata_mode::read_only:
    return "the metadata can't be written: nothing new is cached, and all that is cached will "
           "count as "
           "dirty: stop the cache, mend the cause, and run cache_check --clear-needs-check-flag";
  case metadata_mode::fail:
    return "the metadata failed: nothing is served any more: stop the cache, mend the cause, and "
           "run cache_check --clear-needs-check-flag";
  }
  return "";
}

std::vector<std::string> trouble_log::failed(const engine_io &io, std::error_code error,
                                             instant now) {
  kind &failing =
      kinds_.at(static_cast<std::size_t>(io.on) * nr_operations + static_cast<std::size_t>(io.op));
  ++failing.nr_untold;
  failing.last = description_of(io.op, io.on, io.offset, io.length, error);
  if (now < failing.pause_ends) {
    return {};
  }
  return {line_of(failing, now)};
}

std::vector<std::string> trouble_log::due(metadata_mode mode, instant now) {
  std::vector<std::string> lines;
  for (kind &each : kinds_) {
    if (each.nr_untold != 0 && now >= each.pause_ends) {
      lines.push_back(line_of(each, now));
    }
  }
  add_mode(mode, lines);
  return lines;
}

std::vector<std::string> trouble_log::rest(metadata_mode mode) {
  std::vector<std::string> lines;
  for (kind &each : kinds_) {
    if (each.nr_untold != 0) {
      lines.push_back(line_of(each));
    }
  }
  add_mode(mode, lines);
  return lines;
}

std::string trouble_log::line_of(kind &failing) {
  const std::uint64_t count = std::exchange(failing.nr_untold, 0);
  return count == 1 ? failing.last
                    : fmt::format("{} (the last of {} such failures)", failing.last, count);
}

std::string trouble_log::line_of(kind &failing, instant now) {
  const bool was_quiet = now - failing.pause_ends >= failing.pause; // as long again
  failing.pause = was_quiet ? shortest_pause : std::min(2 * failing.pause, longest_pause);
  failing.pause_ends = now + failing.pause;
  return line_of(failing);
}

void trouble_log::add_mode(metadata_mode mode, std::vector<std::string> &to) {
  const std::string_view trouble = trouble_of(mode);
  if (trouble != told_mode_) {
    to.emplace_back(trouble);
  }
  told_mode_ = trouble;
}

} // namespace dmcache
