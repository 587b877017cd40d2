#include "persistent-data/damage.h"

#include <algorithm>

#include <fmt/format.h>

namespace dmcache {

key_range scaled(key_range keys, std::uint64_t per_key, std::uint64_t limit) {
  const auto scale = [&](std::uint64_t key) {
    return key > limit / per_key ? limit : std::min(key * per_key, limit);
  };
  return {scale(keys.begin), scale(keys.end)};
}

std::string describe(const damage &what) {
  return what.path.empty() ? fmt::format("block {}: {}", what.block, what.what)
                           : fmt::format("block {}: {} ({})", what.block, what.what, what.path);
}

} // namespace dmcache
