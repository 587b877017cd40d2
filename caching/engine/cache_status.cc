#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "caching/engine/cache_engine.h"

namespace dmcache {
namespace {

constexpr std::array<std::pair<cache_mode, std::string_view>, 3> mode_names{{
    {cache_mode::writeback, "writeback"},
    {cache_mode::writethrough, "writethrough"},
    {cache_mode::passthrough, "passthrough"},
}};

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

std::string_view name_of(cache_mode mode) {
  return std::ranges::find(mode_names, mode, [](const auto &each) { return each.first; })->second;
}

result<cache_mode> find_cache_mode(std::string_view name) {
  const auto *found =
      std::ranges::find(mode_names, name, [](const auto &each) { return each.second; });
  if (found == mode_names.end()) {
    return fail(failure::usage,
                fmt::format("'{}' is no mode: writeback, writethrough and passthrough are", name));
  }
  return found->first;
}

engine_status cache_engine::status() const {
  engine_status now;
  now.origin_size = sectors{state_.origin_size.value() / sector_size};
  now.metadata_used = state_.metadata->nr_used_blocks();
  now.metadata_total = state_.metadata->nr_blocks();
  now.metadata_version = state_.metadata->version();
  now.block_size = state_.options.block_size;
  now.cache_used = state_.mappings->nr_mapped();
  now.cache_total = state_.mappings->nr_cache_blocks();
  now.statistics = state_.statistics;
  now.counts = state_.counts;
  now.dirty = state_.mappings->nr_dirty();
  now.migrating = migrations_.nr_migrating();
  now.mode = state_.mode;
  now.discard_passdown = state_.options.discard_passdown;
  now.migration_threshold = state_.options.migration_threshold;
  now.policy = state_.decisions->name();
  now.policy_settings = state_.decisions->settings();
  now.metadata_is = state_.metadata_is;
  now.is_read_only = state_.metadata_is != metadata_mode::write;
  now.needs_check = state_.metadata->is_needs_check();
  return now;
}

std::string status_line(const engine_status &status) {
  std::string line = fmt::format("0 {} cache ", status.origin_size);
  if (status.metadata_is == metadata_mode::fail) {
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
