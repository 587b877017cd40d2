#include "caching/policy/hotspot_queue.h"

#include <algorithm>
#include <array>
#include <bit>

namespace dmcache {
namespace {

constexpr std::uint32_t min_entries = 1024;
constexpr std::uint64_t max_blocks_per_area = 16;
constexpr std::uint32_t nr_top_levels = 8;
constexpr std::uint32_t high_level = 48;
constexpr std::array<std::uint32_t, 3> rise_by_quality{4, 2, 1};
constexpr std::uint32_t no_entry = ~std::uint32_t{0};
// The levels are evened every second, which takes few moves as a rule; after a burst, the moves are
// spread over some seconds.
constexpr std::uint32_t max_moves_a_second = 65536;

std::uint32_t entries_for(const policy_geometry &geometry) {
  return std::max(static_cast<std::uint32_t>(geometry.nr_cache_blocks / 4), min_entries);
}

// Areas get smaller while the entries could cover more than the whole origin.
std::uint64_t area_for(const policy_geometry &geometry) {
  std::uint64_t blocks = max_blocks_per_area;
  while (blocks > 1 && entries_for(geometry) * blocks > geometry.nr_origin_blocks) {
    blocks /= 2;
  }
  return blocks;
}

multi_queue::top top_for(const policy_geometry &geometry) {
  const std::uint64_t fitting = geometry.nr_cache_blocks / area_for(geometry);
  return {nr_top_levels, static_cast<std::uint32_t>(std::min<std::uint64_t>(
                             entries_for(geometry) / multi_queue::nr_levels, fitting))};
}

} // namespace

hotspot_queue::hotspot_queue(const policy_geometry &geometry)
    : blocks_per_area_{area_for(geometry)},
      nodes_{entries_for(geometry) + multi_queue::nr_own_nodes},
      levels_{nodes_, entries_for(geometry), top_for(geometry)}, hit_{entries_for(geometry)},
      areas_(entries_for(geometry)), chain_(entries_for(geometry)),
      buckets_(std::bit_floor(entries_for(geometry)), no_entry) {}

std::size_t hotspot_queue::bucket_of(std::uint64_t area) const {
  return hash_(area) & (buckets_.size() - 1);
}

std::optional<hotspot_queue::entry_number> hotspot_queue::find(std::uint64_t area) const {
  for (entry_number entry = buckets_[bucket_of(area)]; entry != no_entry; entry = chain_[entry]) {
    if (areas_[entry] == area) {
      return entry;
    }
  }
  return {};
}

void hotspot_queue::forget(entry_number entry) {
  entry_number *link = &buckets_[bucket_of(areas_[entry])];
  while (*link != entry) {
    link = &chain_[*link];
  }
  *link = chain_[entry];
  hit_.remove(entry);
}

// Puts a hotspot block into an entry that isn't used yet, or into that of the oldest one of the
// lowest level.
hotspot_queue::entry_number hotspot_queue::add(std::uint64_t area) {
  entry_number entry = nr_used_;
  if (nr_used_ < nr_entries()) {
    ++nr_used_;
    levels_.push(entry, 0);
  } else {
    entry = *levels_.oldest();
    forget(entry);
    levels_.requeue(entry, 0);
  }
  areas_[entry] = area;
  entry_number &bucket = buckets_[bucket_of(area)];
  chain_[entry] = bucket;
  bucket = entry;
  return entry;
}

std::uint32_t hotspot_queue::miss(origin_block block) {
  const std::uint64_t area = block.value() / blocks_per_area_;
  const std::optional<entry_number> entry = find(area);
  if (!entry) {
    ++nr_low_;
    return nodes_[add(area)].level();
  }
  ++(nodes_[*entry].level() >= high_level ? nr_high_ : nr_low_);
  const bool may_rise = !hit_.contains(*entry);
  hit_.insert(*entry);
  levels_.requeue(*entry, may_rise ? rise_by_quality[static_cast<std::size_t>(quality_)] : 0);
  return nodes_[*entry].level();
}

std::optional<std::uint32_t> hotspot_queue::level_of(origin_block block) const {
  const std::optional<entry_number> entry = find(block.value() / blocks_per_area_);
  return entry ? std::optional{nodes_[*entry].level()} : std::nullopt;
}

void hotspot_queue::end_period() {
  const std::uint64_t total = nr_high_ + nr_low_;
  const std::uint64_t share = total == 0 ? 0 : nr_high_ * 256 / total;
  quality_ = share < 16 ? quality::poor : share < 32 ? quality::fair : quality::well;
  nr_high_ = nr_low_ = 0;
  hit_.clear();
  levels_.redistribute(max_moves_a_second);
}

} // namespace dmcache
