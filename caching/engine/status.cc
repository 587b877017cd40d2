#include "caching/engine/status.h"

#include <fmt/format.h>

#include "persistent-data/format.h"

namespace dmcache {
namespace {

std::string features_of(const engine_status &status) {
  std::string features;
  unsigned count = 1;
  if (status.metadata_version == 2) {
    features += "metadata2 ";
    ++count;
  }
  features += name_of(status.mode);
  if (!status.discard_passdown) {
    features += " no_discard_passdown";
    ++count;
  }
  return fmt::format("{} {}", count, features);
}

} // namespace

std::string_view name_of(metadata_mode mode) {
  return name_in(metadata_modes, mode);
}

std::string status_line(const engine_status &status) {
  std::string line = fmt::format("0 {} cache ", status.origin_size);
  if (status.mode_of_metadata == metadata_mode::fail) {
    return line + "Fail";
  }
  const cache_statistics &served = status.statistics;
  line += fmt::format("{} {}/{} {} {}/{} {} {} {} {} {} {} {} ", metadata_block_size / sector_size,
                      status.metadata_used, status.metadata_total, status.block_size,
                      status.cache_used, status.cache_total, served.read_hits, served.read_misses,
                      served.write_hits, served.write_misses, status.counts.demotions,
                      status.counts.promotions, status.dirty);
  line += fmt::format("{} 2 migration_threshold {} {} {} ", features_of(status),
                      status.migration_threshold, status.policy, 2 * status.policy_settings.size());
  for (const auto &[key, value] : status.policy_settings) {
    line += fmt::format("{} {} ", key, value);
  }
  return line + fmt::format("{} {}", status.is_read_only ? "ro" : "rw",
                            status.needs_check ? "needs_check" : "-");
}

} // namespace dmcache
