#include "caching/sizing/scaled_cache.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/whole_number.h"

namespace dmcache {

scaled_cache::scaled_cache(const policy_geometry &of, std::uint64_t nr_blocks)
    : nr_blocks_{std::min(nr_blocks, of.nr_cache_blocks)},
      share_{static_cast<double>(nr_blocks_) / static_cast<double>(of.nr_cache_blocks)},
      largest_hash_{largest_hash_for(share_)},
      policy_{{nr_blocks_, of.nr_origin_blocks, of.block_size}, share_},
      cached_{static_cast<std::uint32_t>(nr_blocks_)} {}

void scaled_cache::touch(std::uint64_t hash, promotion possible) {
  const bool is_read = possible == promotion::by_copy;
  (is_read ? touches_.reads : touches_.writes) += 1;
  if (const auto block = cached_.find(hash)) {
    policy_.hit(cache_block{*block});
    if (!is_read) {
      policy_.mark_dirty(cache_block{*block});
    }
  } else {
    (is_read ? misses_.reads : misses_.writes) += 1;
    if (const auto into = policy_.miss(origin_block{hash}, possible)) {
      cached_.insert(static_cast<sample_number>(into->value()), hash);
      policy_.promoted(*into, true);
      if (possible == promotion::without_copy) {
        policy_.mark_dirty(*into);
      }
    }
  }
  work();
}

void scaled_cache::work() {
  while (const auto wanted = policy_.next_work(false)) {
    if (wanted->task == background_work::kind::demote) {
      cached_.remove(static_cast<sample_number>(wanted->block.value()));
    }
    policy_.completed(*wanted, true);
  }
}

void scaled_cache::halve() {
  touches_.halve();
  misses_.halve();
}

// Of the promotions that there may be, the copy has its share.
void scaled_cache::follow(const policy &live) {
  if (live.name() != policy_.name()) {
    return;
  }
  for (const auto &[key, value] : live.settings()) {
    const auto budget = key == "fill_budget" ? whole_number<double>(value) : std::nullopt;
    [[maybe_unused]] const auto set =
        policy_.set(key, budget ? fmt::format("{}", *budget * share_) : value);
  }
}

} // namespace dmcache
