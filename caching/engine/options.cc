#include "caching/engine/options.h"

#include <algorithm>

#include <fmt/format.h>

namespace dmcache {
namespace {

using acceptable_check = std::pair<std::string_view, bool accepted_devices::*>;
constexpr std::array<acceptable_check, 4> acceptable{{
    {"differing", &accepted_devices::differing},
    {"contents", &accepted_devices::with_contents},
    {"large-fast", &accepted_devices::large_fast},
    {"image", &accepted_devices::image},
}};

} // namespace

std::string_view name_of(cache_mode mode) {
  return std::ranges::find(cache_modes, mode, &std::pair<cache_mode, std::string_view>::first)
      ->second;
}

std::string_view name_of(dirty_tracking tracking) {
  return std::ranges::find(dirty_trackings, tracking,
                           &std::pair<dirty_tracking, std::string_view>::first)
      ->second;
}

result<dirty_tracking> find_dirty_tracking(std::string_view name) {
  const auto *found = std::ranges::find(dirty_trackings, name,
                                        &std::pair<dirty_tracking, std::string_view>::second);
  if (found == dirty_trackings.end()) {
    return fail(
        failure::usage,
        fmt::format("'{}' is no way to track what is dirty: exact and at-shutdown are", name));
  }
  return found->first;
}

result<cache_mode> find_cache_mode(std::string_view name) {
  const auto *found =
      std::ranges::find(cache_modes, name, &std::pair<cache_mode, std::string_view>::second);
  if (found == cache_modes.end()) {
    return fail(failure::usage,
                fmt::format("'{}' is no mode: writeback, writethrough and passthrough are", name));
  }
  return found->first;
}

result<> accept(accepted_devices &by, std::string_view name) {
  const auto *found = std::ranges::find(acceptable, name, &acceptable_check::first);
  if (found == acceptable.end()) {
    return fail(failure::usage,
                fmt::format("'{}' can't be forced: differing, contents, large-fast and "
                            "image can",
                            name));
  }
  by.*found->second = true;
  return {};
}

std::vector<std::string_view> names_of(const accepted_devices &accepted) {
  std::vector<std::string_view> names;
  for (const auto &[name, is_accepted] : acceptable) {
    if (accepted.*is_accepted) {
      names.push_back(name);
    }
  }
  return names;
}

} // namespace dmcache
