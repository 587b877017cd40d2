#include "caching/engine/verifier.h"

#include <algorithm>
#include <cstring>

#include "base/aligned_buffer.h"
#include "caching/engine/io_description.h"

namespace dmcache {
namespace {

// Hits wait while a chunk is compared in memory, so it is smaller than what is copied at a time.
constexpr std::uint64_t most_compared = 256 << 10;
// All of them together take no more than this, or what one block needs.
constexpr std::uint64_t max_for_comparing = 16 << 20;

std::uint32_t compared_at_once(const cache_state &state) {
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(most_compared, state.block_size));
}

} // namespace

bool verifier::has_room() const {
  const std::uint64_t nr_then = nr_comparing_ + 1;
  return nr_comparing_ == 0 ||
         (nr_then * state_.block_size <= to_bytes(state_.options.migration_threshold).value() &&
          nr_then * 2 * compared_at_once(state_) <= max_for_comparing);
}

// The block is found once it is locked: its mapping can't change until it is released, nor can a
// clean block become dirty.
flow<> verifier::do_compare(compared_block &asked, comparison_changes wanted,
                            std::uint64_t &nr_open) {
  using enum compared_block::finding;
  ++nr_open;
  ++nr_comparing_;
  co_await state_.locks.exclude(asked.block, exclusion::writes);
  asked.found = not_cached;
  if (const auto cached_in = state_.mappings->find(asked.block)) {
    asked.cached_in = *cached_in;
    asked.is_dirty = state_.mappings->is_dirty(*cached_in);
    asked.found = co_await compare_data(asked);
  }
  if (wanted.clears_equal && asked.found == equal && state_.mappings->is_dirty(asked.cached_in) &&
      may_clear()) {
    // Somebody else may have written to the origin what is the same there now.
    state_.flushes.wrote(cache_device::origin);
    commits_.settle(asked.cached_in, committer::settled_for::comparison);
  }
  state_.locks.release(asked.block);
  co_await pieces_first{state_};
  if (wanted.drops_stale && asked.found == differs && !asked.is_dirty) {
    asked.is_changed = co_await migrations_.drop(asked.cached_in, asked.block);
  }
  --nr_comparing_;
  --nr_open;
}

// What waits for the cache to come to rest waits for one chunk at most.
flow<compared_block::finding> verifier::compare_data(compared_block &asked) {
  using enum compared_block::finding;
  const std::uint32_t chunk = compared_at_once(state_);
  aligned_buffer fast_buffer{chunk};
  aligned_buffer origin_buffer{chunk};
  for (std::uint32_t at = 0; at < state_.block_size; at += chunk) {
    if (!state_.migrations_allowed) {
      co_return untried;
    }
    const std::uint32_t length = std::min(chunk, state_.block_size - at);
    const auto on_fast = fast_buffer.span().first(length);
    const auto on_origin = origin_buffer.span().first(length);
    const bytes fast_at = state_.fast_offset(asked.cached_in) + at;
    const bytes origin_at = state_.origin_offset(asked.block) + at;
    std::error_code fast_error;
    std::error_code origin_error;
    {
      io_group reading{state_, true};
      reading.read(cache_device::fast, fast_at, on_fast, fast_error);
      reading.read(cache_device::origin, origin_at, on_origin, origin_error);
      co_await reading;
    }
    if (fast_error || origin_error) {
      asked.failure = description_of(
          engine_io::operation::read, fast_error ? cache_device::fast : cache_device::origin,
          fast_error ? fast_at : origin_at, bytes{length}, fast_error ? fast_error : origin_error);
      co_return unreadable;
    }
    if (std::memcmp(on_fast.data(), on_origin.data(), length) != 0) {
      co_return !asked.is_dirty && state_.is_discarded(asked.block) ? discarded : differs;
    }
  }
  co_return equal;
}

} // namespace dmcache
