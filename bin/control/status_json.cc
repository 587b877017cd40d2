#include "bin/control/status_json.h"

#include <cstddef>
#include <utility>

#include <nlohmann/json.hpp>

#include "bin/control/json_number.h"

namespace dmcache {
namespace {

using json = nlohmann::ordered_json;

constexpr int indent = 2;

// The list of all fields, for both directions.
template <typename Status, typename Each> void for_each_field(Status &of, Each each) {
  each("mode", of.mode);
  each("policy", of.policy);
  each("policy_settings", of.policy_settings);
  each("migration_threshold_sectors", of.migration_threshold);
  each("discard_passdown", of.discard_passdown);
  each("cleaning", of.cleaning);
  each("origin_size_sectors", of.origin_size);
  each("block_size_sectors", of.block_size);
  each("cache_blocks_total", of.cache_total);
  each("cache_blocks_used", of.cache_used);
  each("cache_blocks_dirty", of.dirty);
  each("cache_blocks_dirty_max", of.max_dirty);
  each("cache_blocks_migrating", of.migrating);
  each("metadata_version", of.metadata_version);
  each("metadata_blocks_total", of.metadata_total);
  each("metadata_blocks_used", of.metadata_used);
  each("metadata_mode", of.mode_of_metadata);
  each("dirty_tracking", of.tracking);
  each("read_only", of.is_read_only);
  each("needs_check", of.needs_check);
  each("read_hits", of.statistics.read_hits);
  each("read_misses", of.statistics.read_misses);
  each("write_hits", of.statistics.write_hits);
  each("write_misses", of.statistics.write_misses);
  each("promotions", of.counts.promotions);
  each("demotions", of.counts.demotions);
  each("writebacks", of.counts.writebacks);
  each("migration_errors", of.counts.migration_errors);
  each("fast_errors_served", of.counts.fast_errors_served);
  each("commits", of.counts.commits);
}

template <typename Plain> json encode(const Plain &value) {
  return value;
}

json encode(sectors value) {
  return value.value();
}

template <typename Named>
  requires requires(Named value) { name_of(value); }
json encode(const Named &value) {
  return name_of(value);
}

json encode(const std::vector<policy::setting> &settings) {
  json made = json::object();
  for (const auto &[key, value] : settings) {
    made[key] = value;
  }
  return made;
}

// Each decode() throws, as the library does, if the value is of another kind.

template <typename Plain> void decode(const json &from, Plain &to) {
  from.get_to(to);
}

void decode(const json &from, std::uint32_t &to) {
  to = json_number<std::uint32_t>(from);
}

void decode(const json &from, std::uint64_t &to) {
  to = json_number(from);
}

void decode(const json &from, sectors &to) {
  to = sectors{json_number(from)};
}

template <typename Value, std::size_t count>
void decode_name(const json &from, const named_values<Value, count> &list, Value &to) {
  const auto value = value_in(list, from.get<std::string>());
  if (!value) {
    throw json::other_error::create(501, "no such name", &from);
  }
  to = *value;
}

void decode(const json &from, cache_mode &to) {
  decode_name(from, cache_modes, to);
}

void decode(const json &from, dirty_tracking &to) {
  decode_name(from, dirty_trackings, to);
}

void decode(const json &from, cleaning_trigger &to) {
  decode_name(from, cleaning_triggers, to);
}

void decode(const json &from, metadata_mode &to) {
  decode_name(from, metadata_modes, to);
}

void decode(const json &from, std::vector<policy::setting> &to) {
  for (const auto &[key, value] : from.items()) {
    to.emplace_back(key, value.get<std::string>());
  }
}

} // namespace

std::string to_json(const engine_status &status) {
  json made;
  for_each_field(status, [&](const char *name, const auto &value) { made[name] = encode(value); });
  // A policy may say anything, so bytes that are no UTF-8 are replaced.
  return made.dump(-1, ' ', false, json::error_handler_t::replace);
}

result<engine_status> status_from_json(std::string_view text) {
  try {
    const json from = json::parse(text);
    engine_status made;
    for_each_field(made, [&](const char *name, auto &value) { decode(from.at(name), value); });
    return made;
  } catch (const json::exception &wrong) {
    return fail(failure::environment,
                fmt::format("this is no status of a cache: {}", wrong.what()));
  }
}

std::string indented_json(std::string_view text) {
  return json::parse(text).dump(indent);
}

} // namespace dmcache
