// Which parts of the origin are missed often. There is no room to remember that for every block, so
// it is remembered for hotspot blocks, areas of up to 16 cache blocks.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/keyed_hash.h"
#include "base/units.h"
#include "caching/policy/hit_bits.h"
#include "caching/policy/multi_queue.h"
#include "caching/policy/policy.h"

namespace dmcache {

// A multi-queue of hotspot blocks, found by a hash table with chains. Bounded by the number of
// cache blocks: at most 25 bytes for every four of them, and 25 KiB for small caches.
class hotspot_queue {
 public:
  // How well the levels foretold the misses of the last period.
  enum class quality : std::uint8_t { poor, fair, well };

  explicit hotspot_queue(const policy_geometry &geometry);
  hotspot_queue(const hotspot_queue &) = delete;
  hotspot_queue &operator=(const hotspot_queue &) = delete;

  // Notes that a request missed the cache. Returns the level that the hotspot block has now.
  std::uint32_t miss(origin_block block);
  // The level of the hotspot block; none if it wasn't missed, or is forgotten.
  std::optional<std::uint32_t> level_of(origin_block block) const;
  // Hotspot blocks can rise again; how much is judged by the period that ends.
  void end_period();

  quality last_quality() const { return quality_; }

  std::uint32_t nr_entries() const { return static_cast<std::uint32_t>(areas_.size()); }
  std::uint64_t blocks_per_area() const { return blocks_per_area_; }

 private:
  using entry_number = std::uint32_t;

  std::size_t bucket_of(std::uint64_t area) const;
  std::optional<entry_number> find(std::uint64_t area) const;
  entry_number add(std::uint64_t area);
  void forget(entry_number entry);

  std::uint64_t blocks_per_area_;
  queue_nodes nodes_;
  multi_queue levels_;
  hit_bits hit_;
  std::vector<std::uint64_t> areas_;  // of each entry: its hotspot block
  std::vector<entry_number> chain_;   // of each entry: the next one in its bucket
  std::vector<entry_number> buckets_; // a power of two of them
  keyed_hash hash_;                   // or else a client could ask for areas of one bucket
  entry_number nr_used_ = 0;

  quality quality_ = quality::poor;
  std::uint64_t nr_high_ = 0; // misses of this period whose hotspot block stood high,
  std::uint64_t nr_low_ = 0;  // and the others
};

} // namespace dmcache
