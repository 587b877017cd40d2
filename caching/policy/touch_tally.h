// How often blocks that aren't cached were touched of late: one entry for each block that the cache
// has, and no more, however large the origin.
//
// A bucket is a cache line of 16 entries, the one that was touched last first. A new entry takes the
// place of the last one. An entry is a number of 32 bits, 0 if it is empty:
//
//   31       6   5   4    0
//   | hash    | rev | count |   of the block's hash the lowest 26 bits; whether the block was
//                               visited again; how often it was touched, up to 31
//
// Blocks that share bucket and hash share an entry: about one in four million of those that are
// compared does.
#pragma once

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/units.h"

namespace dmcache {

class touch_tally {
 public:
  static constexpr std::uint32_t max_count = 31;

  // With an entry for each cache block, 1024 at least.
  explicit touch_tally(std::uint64_t nr_cache_blocks);

  struct touched {
    std::uint32_t count;     // with this touch
    bool is_revisited;       // in this visit, or in one before
    bool is_first_return;    // in this visit, and in none before
    bool has_lost_unvisited; // the entry that made room was of a block that nobody came back to
  };

  // A visit is a run of touches of the same block without any other in between.
  enum class touch_kind : std::uint8_t { of_new_visit, of_same_visit, of_same_visit_uncounted };
  touched touch(origin_block block, touch_kind kind);

  void forget(origin_block block);

  // 0 if the block wasn't touched, or is forgotten.
  std::uint32_t count_of(origin_block block) const;

 private:
  static constexpr std::uint32_t revisited_bit = 1U << 5;
  static constexpr std::uint32_t hash_bits = ~std::uint32_t{63};

  using entry = std::uint32_t;
  struct alignas(64) bucket {
    std::array<entry, 16> entries;
  };
  static_assert(sizeof(bucket) == 64);

  struct place {
    bucket &in;
    entry hash; // in its place in an entry, all other bits zero
  };
  std::size_t bucket_of(std::uint64_t hash) const;
  place place_of(origin_block block);
  static entry *find(place at);

  std::vector<bucket> buckets_;
};

} // namespace dmcache
