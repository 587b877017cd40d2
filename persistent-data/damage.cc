#include "persistent-data/damage.h"

#include <algorithm>

#include <fmt/format.h>

namespace dmcache {

const char *name_of(structure part) {
  switch (part) {
  case structure::superblock:
    return "superblock";
  case structure::mappings:
    return "mappings";
  case structure::dirty_bits:
    return "dirty bits";
  case structure::hints:
    return "hints";
  case structure::discards:
    return "discards";
  case structure::space_map:
    return "space map";
  }
  return "unknown";
}

key_range scaled(key_range keys, std::uint64_t per_key, std::uint64_t limit) {
  const auto scale = [&](std::uint64_t key) {
    return key > limit / per_key ? limit : std::min(key * per_key, limit);
  };
  return {scale(keys.begin), scale(keys.end)};
}

std::string describe(const damage &finding) {
  std::string text = fmt::format("block {}: {}", finding.block, finding.fault);
  return finding.path.empty() ? text : fmt::format("{} ({})", text, finding.path);
}

} // namespace dmcache
