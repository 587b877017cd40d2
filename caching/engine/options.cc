#include "caching/engine/options.h"

#include <algorithm>
#include <bit>

#include <fmt/format.h>

#include "base/whole_number.h"
#include "caching/metadata/superblock.h"

namespace dmcache {
namespace {

constexpr named_values<bool accepted_devices::*, 4> acceptable{{
    {&accepted_devices::differing, "differing"},
    {&accepted_devices::with_contents, "contents"},
    {&accepted_devices::large_fast, "large-fast"},
    {&accepted_devices::image, "image"},
}};

} // namespace

std::string_view name_of(cache_mode mode) {
  return name_in(cache_modes, mode);
}

std::string_view name_of(dirty_tracking tracking) {
  return name_in(dirty_trackings, tracking);
}

result<dirty_tracking> find_dirty_tracking(std::string_view name) {
  const auto found = value_in(dirty_trackings, name);
  if (!found) {
    return fail(
        failure::usage,
        fmt::format("'{}' is no way to track what is dirty: exact and at-shutdown are", name));
  }
  return *found;
}

std::string_view name_of(cleaning_trigger trigger) {
  return name_in(cleaning_triggers, trigger);
}

result<cleaning_trigger> find_cleaning_trigger(std::string_view name) {
  const auto found = value_in(cleaning_triggers, name);
  if (!found) {
    return fail(failure::usage,
                fmt::format("cleaning is background or on-request, not '{}'", name));
  }
  return *found;
}

std::string text_of(const dirty_limit &limit) {
  return fmt::format("{}{}", limit.amount, limit.is_percentage ? "%" : "");
}

result<dirty_limit> find_dirty_limit(std::string_view name, std::string_view text,
                                     bare_number bare) {
  if (!text.ends_with('%')) {
    const auto size = parse_sectors(name, text, bare);
    return size ? result<dirty_limit>{dirty_limit{size->value(), false}}
                : std::unexpected{size.error()};
  }
  const auto percentage = whole_number<std::uint64_t>(text.substr(0, text.size() - 1));
  if (!percentage || *percentage > 100) {
    return fail(failure::usage,
                fmt::format("{}: '{}' is no share of the cache: 0% to 100% are", name, text));
  }
  return dirty_limit{*percentage, true};
}

sectors usual_block_size(sectors fast_size) {
  constexpr std::uint64_t smallest = 128;
  constexpr std::uint64_t max_blocks = std::uint64_t{1} << 22;
  const std::uint64_t needed = divided_up(fast_size.value(), max_blocks);
  return sectors{std::clamp<std::uint64_t>(std::bit_ceil(needed), smallest, max_data_block_size)};
}

result<cache_mode> find_cache_mode(std::string_view name) {
  const auto found = value_in(cache_modes, name);
  if (!found) {
    return fail(failure::usage,
                fmt::format("'{}' is no mode: writeback, writethrough and passthrough are", name));
  }
  return *found;
}

result<> accept(accepted_devices &by, std::string_view name) {
  const auto found = value_in(acceptable, name);
  if (!found) {
    return fail(failure::usage,
                fmt::format("'{}' can't be forced: differing, contents, large-fast and "
                            "image can",
                            name));
  }
  by.**found = true;
  return {};
}

std::vector<std::string_view> names_of(const accepted_devices &accepted) {
  std::vector<std::string_view> names;
  for (const auto &[is_accepted, name] : acceptable) {
    if (accepted.*is_accepted) {
      names.push_back(name);
    }
  }
  return names;
}

} // namespace dmcache
