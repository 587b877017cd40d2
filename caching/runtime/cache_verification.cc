#include "caching/runtime/cache_verification.h"

#include <algorithm>
#include <utility>

namespace dmcache {
namespace {

using finding = compared_block::finding;

constexpr std::uint64_t nr_looked_at = 1 << 16; // cache blocks at a time: requests wait for that
// So much is asked of the engine at a time: a stop is heard in between, and what is cleared shares
// flushes.
constexpr std::uint64_t bytes_at_a_time = 32 << 20;
constexpr std::uint64_t max_blocks_at_a_time = 1024;
constexpr std::size_t max_reasons = 8;

} // namespace

result<verification_summary> cache_verification::run() {
  so_far_.block_size = to_bytes(cache_.status().block_size);
  list_blocks();
  const auto compared = compare(blocks_, {.clears_equal = how_.clear_equal},
                                [&](const compared_block &each) { count(each); });
  if (!compared) {
    return std::unexpected{compared.error()};
  }
  so_far_.stale_left = so_far_.clean_differing;
  if (how_.drop_stale) {
    if (auto dropped = drop_stale(); !dropped) {
      return std::unexpected{dropped.error()};
    }
  }
  return so_far_;
}

void cache_verification::list_blocks() {
  const engine_status status = cache_.status();
  blocks_.reserve(status.cache_used);
  for (std::uint64_t at = 0; at < status.cache_total; at += nr_looked_at) {
    const auto some = cache_.cached_in(cache_block{at}, cache_block{at + nr_looked_at});
    blocks_.insert(blocks_.end(), some.begin(), some.end());
  }
  std::ranges::sort(blocks_);
  nr_blocks_ = blocks_.size();
}

// Those that a reload has left untried are asked for again.
template <typename Each>
result<> cache_verification::compare(std::span<const origin_block> blocks,
                                     comparison_changes wanted, Each each) {
  const std::uint64_t nr_at_a_time = std::clamp<std::uint64_t>(
      bytes_at_a_time / so_far_.block_size.value(), 1, max_blocks_at_a_time);
  std::vector<compared_block> asked;
  while (!blocks.empty() || !asked.empty()) {
    if (is_stopped_) {
      return fail(failure::failed, "stopped");
    }
    while (!blocks.empty() && asked.size() < nr_at_a_time) {
      asked.push_back({.block = blocks.front()});
      blocks = blocks.subspan(1);
    }
    if (auto done = cache_.compare(asked, wanted); !done) {
      return done;
    }
    std::erase_if(asked, [&](const compared_block &compared) {
      if (compared.found != finding::untried) {
        each(compared);
      }
      return compared.found != finding::untried;
    });
  }
  return {};
}

void cache_verification::count(const compared_block &compared) {
  const bool is_dirty = compared.is_dirty;
  bool is_told = false;
  switch (compared.found) {
  case finding::untried:
  case finding::not_cached:
    break;
  case finding::unreadable:
    ++so_far_.unreadable;
    if (so_far_.reasons.size() < max_reasons) {
      so_far_.reasons.insert(compared.failure);
    }
    break;
  case finding::equal:
    ++(is_dirty ? so_far_.dirty : so_far_.clean);
    so_far_.dirty_equal += is_dirty ? 1U : 0U;
    so_far_.cleared += compared.is_changed ? 1U : 0U;
    is_told = is_dirty;
    break;
  case finding::discarded:
    ++so_far_.clean;
    ++so_far_.clean_discarded;
    break;
  case finding::differs:
    ++(is_dirty ? so_far_.dirty : so_far_.clean);
    if (!is_dirty) {
      ++so_far_.clean_differing;
      stale_.push_back(compared.block);
    }
    is_told = !is_dirty;
    break;
  }
  if (is_told) {
    const mutex_guard telling{mutex_};
    found_.push_back(compared);
  }
  ++nr_compared_;
}

// Only when all are compared it is known whether most differ. Clients may have written to them
// since, so each is dropped if it still is what it was.
result<> cache_verification::drop_stale() {
  const std::uint64_t nr_telling = so_far_.clean - so_far_.clean_discarded;
  if (so_far_.clean_differing > nr_telling / 2 && !how_.accepts_differing) {
    so_far_.is_drop_refused = true;
    return {};
  }
  so_far_.stale_left = 0;
  return compare(stale_, {.drops_stale = true}, [&](const compared_block &each) {
    so_far_.dropped += each.is_changed ? 1U : 0U;
    const bool is_stale = each.found == finding::differs && !each.is_dirty;
    so_far_.stale_left +=
        (is_stale && !each.is_changed) || each.found == finding::unreadable ? 1U : 0U;
  });
}

std::vector<compared_block> cache_verification::take_found() {
  const mutex_guard taking{mutex_};
  return std::exchange(found_, {});
}

} // namespace dmcache
