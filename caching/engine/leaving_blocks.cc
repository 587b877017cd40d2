// How blocks leave the cache that nobody wants to make room for: because they are invalidated or
// discarded, or can't be relied on any more.
#include <algorithm>

#include "caching/engine/migrator.h"

namespace dmcache {

bool migrator::invalidate(cache_block block, piece *waiting) {
  return let_leave(block, spared::dirty_ones, waiting);
}

bool migrator::forget(cache_block block, piece &discard) {
  return let_leave(block, spared::none, &discard);
}

// If the block is leaving already for another reason, and stays because it is dirty, the piece that
// waits comes here once more.
bool migrator::let_leave(cache_block block, spared blocks, piece *waiting) {
  if (!may_change_metadata() || state_.metadata->is_full()) {
    return false;
  }
  if (!is_leaving(block)) {
    flows_.start(do_invalidate(block, blocks));
  }
  if (waiting != nullptr) {
    state_.locks.put_back(*waiting);
  }
  return true;
}

flow<> migrator::do_invalidate(cache_block block, spared blocks) {
  co_await leave(block, blocks);
  work();
}

// Invalidation. Nobody comes into the block until the mapping is gone for good.
flow<bool> migrator::leave(cache_block block, spared blocks) {
  leaving_.push_back({block, {}});
  const origin_block from = state_.mappings->origin_of(block);
  const bool is_gone = co_await remove(block, from, exclusion::all, blocks);
  left(block, is_gone);
  co_await release(from);
  changed_.happen();
  co_return is_gone;
}

flow<bool> migrator::drop(cache_block block, origin_block from) {
  while (is_leaving(block) || leaving_.size() >= max_demoting) {
    co_await changed_;
  }
  const bool is_possible = state_.mappings->find(from) == block && may_change_metadata() &&
                           !state_.metadata->is_full() && !state_.mappings->is_dirty(block);
  bool is_gone = false;
  if (is_possible) {
    is_gone = co_await leave(block, spared::dirty_ones);
  }
  co_return is_gone;
}

bool migrator::is_leaving(cache_block block) const {
  return std::ranges::count(leaving_, block, &leaving_block::block) != 0;
}

// The block, which was to leave, is gone or stays.
void migrator::left(cache_block block, bool is_gone) {
  const auto leaving = std::ranges::find(leaving_, block, &leaving_block::block);
  const auto asked = leaving->asked;
  leaving_.erase(leaving);
  if (is_gone) {
    state_.policy->invalidated(block);
  } else if (asked) {
    state_.policy->completed(*asked, false);
  }
}

void migrator::withdraw() {
  if (state_.is_withdrawing) {
    is_withdrawal_wanted_ = true;
  } else {
    state_.is_withdrawing = true;
    flows_.start(do_withdraw());
  }
}

bool migrator::is_to_be_withdrawn(cache_block block) const {
  return state_.mappings->is_mapped(block) && !state_.mappings->is_stored(block) &&
         (!may_change_metadata() || state_.mappings->is_suspect(block));
}

flow<> migrator::do_withdraw() {
  do {
    is_withdrawal_wanted_ = false;
    std::uint64_t nr_left = co_await drop_lost(commits_.take_lost());
    for (std::uint64_t i = 0; i < state_.mappings->nr_cache_blocks(); ++i) {
      const cache_block block{i};
      while (is_to_be_withdrawn(block) && is_leaving(block)) {
        co_await changed_;
      }
      if (is_to_be_withdrawn(block)) {
        const bool is_gone = co_await withdraw_one(block);
        nr_left += is_gone ? 0U : 1U;
      }
    }
    state_.nr_not_withdrawn = nr_left;
  } while (is_withdrawal_wanted_);
  state_.is_withdrawing = false;
  commits_.withdrawal_ended();
  changed_.happen();
  work();
}

// Nobody is in the block meanwhile.
flow<bool> migrator::withdraw_one(cache_block block) {
  leaving_.push_back({block, {}});
  const origin_block from = state_.mappings->origin_of(block);
  co_await state_.locks.exclude(from, exclusion::all);
  bool is_gone = true;
  if (state_.mappings->is_mapped(block) && state_.mappings->origin_of(block) == from) {
    if (state_.mappings->is_dirty(block)) {
      is_gone = co_await copy_to_origin(block, from);
    }
    if (is_gone) {
      if (state_.mappings->is_settling(block)) {
        commits_.unsettle(block);
      }
      state_.mappings->unmap(block);
      commits_.unmapped(block);
    } else {
      ++counts_.failed_writebacks;
      failed();
    }
    left(block, is_gone);
  } else {
    std::erase_if(leaving_, [&](const leaving_block &each) { return each.block == block; });
  }
  co_await release(from);
  changed_.happen();
  co_return is_gone;
}

// Clean blocks of which the fast device may hold something older than the origin.
// Gives how many of them are still there.
flow<std::uint64_t> migrator::drop_lost(std::vector<cache_block> lost) {
  const auto is_here = [&](cache_block block) {
    return state_.mappings->is_mapped(block) && state_.mappings->is_stored(block) &&
           !state_.mappings->is_dirty(block);
  };
  for (const cache_block block : lost) {
    while (leaving_.size() >= max_demoting) {
      co_await changed_;
    }
    if (is_here(block)) {
      invalidate(block, nullptr);
    }
  }
  std::uint64_t nr_left = 0;
  for (const cache_block block : lost) {
    while (is_leaving(block)) {
      co_await changed_;
    }
    if (is_here(block)) {
      commits_.still_lost(block);
      ++nr_left;
    }
  }
  co_return nr_left;
}

flow<bool> migrator::invalidate_range(cache_block begin, cache_block end) {
  for (cache_block block = begin; block < end && may_change_metadata(); ++block) {
    while (leaving_.size() >= max_demoting) {
      co_await changed_;
    }
    if (state_.mappings->is_mapped(block)) {
      invalidate(block, nullptr);
    }
  }
  while (!leaving_.empty()) {
    co_await changed_;
  }
  bool are_gone = may_change_metadata();
  for (cache_block block = begin; block < end; ++block) {
    are_gone = are_gone && !state_.mappings->is_mapped(block);
  }
  co_return are_gone;
}

} // namespace dmcache
