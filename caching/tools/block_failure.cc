#include "caching/tools/block_failure.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace dmcache {

std::vector<std::vector<block_failure>> by_reason(std::span<const block_failure> failed) {
  std::vector<std::vector<block_failure>> kinds;
  for (const block_failure &each : failed) {
    const auto kind =
        std::ranges::find_if(kinds, [&](const auto &some) { return some.front().is_like(each); });
    if (kind == kinds.end()) {
      kinds.push_back({each});
    } else {
      kind->push_back(each);
    }
  }
  return kinds;
}

std::string reason_of(const block_failure &first, const device_names &names) {
  using enum block_failure::step;
  const auto cannot = [&](const char *operation, const std::string &name) {
    return fmt::format("cannot {} {}: {} (first at byte {})", operation, name,
                       first.error.message(), first.at);
  };
  const auto too_short = [&](const std::string &name) {
    return fmt::format("{} ends before them (the first is at byte {})", name, first.at);
  };
  switch (first.failed) {
  case reading_fast:
    return cannot("read", names.fast);
  case reading_origin:
    return cannot("read", names.origin);
  case writing_origin:
    return cannot("write", names.origin);
  case beyond_fast:
    return too_short(names.fast);
  case beyond_origin:
    return too_short(names.origin);
  }
  std::unreachable();
}

} // namespace dmcache
