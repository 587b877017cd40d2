#include "caching/policy/smq.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/whole_number.h"

namespace dmcache {
namespace {

constexpr std::uint64_t hotspot_seconds = 1;
constexpr std::uint64_t free_target_percent = 25;

} // namespace

smq::smq(std::string_view name, std::span<const std::string_view> tunables,
         const policy_geometry &geometry)
    : multi_queue_policy{geometry.nr_cache_blocks}, name_{name}, tunables_{tunables},
      hotspots_{geometry}, hotspot_period_{hotspot_seconds} {}

// The better the levels foretell the misses, the more of them are believed.
std::uint32_t smq::lowest_level_worth_copying() const {
  constexpr std::array<std::uint32_t, 3> lowest_by_quality{48, 32, 0};
  return lowest_by_quality[static_cast<std::size_t>(hotspots_.last_quality())];
}

bool smq::has_room() const {
  const std::uint64_t target =
      std::max<std::uint64_t>(1, nr_cache_blocks() * free_target_percent / 100);
  return nr_free() + nr_being_demoted() >= target;
}

std::optional<cache_block> smq::miss(origin_block block, promotion possible) {
  const std::uint32_t level = hotspots_.miss(block);
  if (possible == promotion::none) {
    return {};
  }
  const bool is_worth_it = level >= lowest_level_worth_copying();
  if (nr_free() > 0 && (is_worth_it || possible == promotion::without_copy)) {
    return reserve();
  }
  needs_room_ |= is_worth_it;
  return {};
}

std::optional<background_work> smq::next_demotion() {
  needs_room_ = needs_room_ && !has_room();
  const auto work = needs_room_ ? demote_oldest() : std::nullopt;
  needs_room_ = work.has_value(); // if none can be, not until the next promotion finds none free
  return work;
}

std::optional<background_work> smq::next_work(bool is_idle) {
  const bool needs_room = needs_room_ && !has_room();
  if (const auto work = next_demotion()) {
    return work;
  }
  return write_back_oldest(is_idle || needs_room); // so that the block can be demoted then
}

// Where a block could not be demoted, most likely none can: dirty ones needn't wait for that.
void smq::completed(const background_work &work, bool is_done) {
  multi_queue_policy::completed(work, is_done);
  if (work.task == background_work::kind::demote && !is_done) {
    needs_room_ = false; // until the next promotion finds none
  }
}

void smq::tick(std::uint64_t seconds) {
  multi_queue_policy::tick(seconds);
  if (hotspot_period_.is_over(seconds)) {
    hotspots_.end_period();
  }
}

result<> smq::set(std::string_view key, std::string_view value) {
  if (tunables_.empty()) {
    return multi_queue_policy::set(key, value);
  }
  if (std::ranges::find(tunables_, key) == tunables_.end()) {
    return fail(failure::usage,
                fmt::format("policy {} has no setting '{}': it takes, and ignores, {}", name_, key,
                            fmt::join(tunables_, ", ")));
  }
  if (!whole_number<std::uint64_t>(value)) {
    return fail(failure::usage, fmt::format("'{}' is no number for {}", value, key));
  }
  return {};
}

std::vector<policy::setting> smq::settings() const {
  std::vector<setting> all;
  for (const std::string_view tunable : tunables_) {
    all.emplace_back(tunable, "0");
  }
  return all;
}

block_account smq::account_of_uncached(origin_block block) const {
  constexpr std::array<std::string_view, 3> qualities{"poorly", "fairly", "well"};
  const std::optional<std::uint32_t> level = hotspots_.level_of(block);
  const std::uint32_t lowest = lowest_level_worth_copying();
  std::string text =
      level ? fmt::format("Its area, of {} blocks, stands at level {} of {} for its misses.",
                          hotspots_.blocks_per_area(), *level, multi_queue::nr_levels - 1)
            : fmt::format("Its area, of {} blocks, was not missed of late.",
                          hotspots_.blocks_per_area());
  text += fmt::format(
      " A miss is worth a copy from level {} on, since the levels foretold the misses of "
      "the last second {}. Misses raise an area, once a second at most.",
      lowest, qualities[static_cast<std::size_t>(hotspots_.last_quality())]);
  text += nr_free() == 0
              ? " But no cache block is free at the moment: the least used ones leave first."
              : " A write of the whole block is promoted whatever the level.";
  return {.counts = {{"area_level", level.value_or(0)},
                     {"area_level_for_copy", lowest},
                     {"cache_blocks_free", nr_free()}},
          .text = std::move(text)};
}

} // namespace dmcache
