#include "caching/policy/touch_tally.h"

#include <algorithm>

namespace dmcache {
namespace {

constexpr std::uint64_t min_blocks_counted = 1024;
constexpr std::uint64_t entries_per_bucket = 16;

// The same in every process, so that a replay of a trace always gives the same. Whoever asks for
// blocks of one bucket only loses their counts: a bucket never has more than its 16 entries.
std::uint64_t mixed(std::uint64_t number) {
  for (int i = 0; i < 2; ++i) {
    number ^= number >> 32;
    number *= 0xd6e8feb86659fd93;
  }
  return number ^ number >> 32;
}

} // namespace

touch_tally::touch_tally(std::uint64_t nr_cache_blocks)
    : buckets_(divided_up(std::max(min_blocks_counted, nr_cache_blocks), entries_per_bucket)) {}

// The upper bits of the hash choose the bucket, the lower ones tell blocks of a bucket apart.
std::size_t touch_tally::bucket_of(std::uint64_t hash) const {
  __extension__ using product = unsigned __int128;
  return static_cast<std::size_t>(product{hash} * buckets_.size() >> 64);
}

touch_tally::place touch_tally::place_of(origin_block block) {
  const std::uint64_t hash = mixed(block.value());
  return {buckets_[bucket_of(hash)], static_cast<entry>(hash << 6)};
}

// Null if there is none. A block whose 26 bits are zero has an entry that isn't 0 because of its
// count.
touch_tally::entry *touch_tally::find(place at) {
  const auto found = std::ranges::find_if(
      at.in.entries, [&](entry each) { return each != 0 && (each & hash_bits) == at.hash; });
  return found == at.in.entries.end() ? nullptr : &*found;
}

touch_tally::touched touch_tally::touch(origin_block block, touch_kind kind) {
  const place at = place_of(block);
  entry *from = find(at);
  const bool is_known = from != nullptr;
  if (!is_known) {
    from = &at.in.entries.back();
  }
  const bool has_lost_unvisited = !is_known && *from != 0 && (*from & revisited_bit) == 0;
  const entry old = is_known ? *from : 0;
  const bool was_revisited = (old & revisited_bit) != 0;
  const bool is_first_return = is_known && kind == touch_kind::of_new_visit && !was_revisited;
  std::uint32_t count = old & max_count;
  if (!is_known || kind != touch_kind::of_same_visit_uncounted) {
    count = std::min(count + 1, max_count);
  }
  const bool is_revisited = was_revisited || is_first_return;
  std::move_backward(&at.in.entries.front(), from, from + 1);
  at.in.entries.front() = at.hash | (is_revisited ? revisited_bit : 0) | count;
  return {count, is_revisited, is_first_return, has_lost_unvisited};
}

std::uint32_t touch_tally::count_of(origin_block block) const {
  const std::uint64_t hash = mixed(block.value());
  const auto &entries = buckets_[bucket_of(hash)].entries;
  const auto found = std::ranges::find_if(entries, [&](entry each) {
    return each != 0 && (each & hash_bits) == static_cast<entry>(hash << 6);
  });
  return found == entries.end() ? 0 : *found & max_count;
}

void touch_tally::forget(origin_block block) {
  const place at = place_of(block);
  if (entry *found = find(at)) {
    std::move(found + 1, at.in.entries.data() + at.in.entries.size(), found);
    at.in.entries.back() = 0;
  }
}

} // namespace dmcache
