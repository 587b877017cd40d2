#include "caching/engine/dirty_notes.h"

#include <algorithm>
#include <utility>

namespace dmcache {

void dirty_notes::want(cache_block block) {
  if (!state_.mappings->is_noted(block) && !state_.mappings->is_to_be_noted(block)) {
    state_.mappings->mark_to_be_noted(block);
    state_.metadata->dirty_changed(block);
    wanted_.push_back(block);
  }
}

// Without room, a commit frees some; if it can't, the dirty state isn't tracked any more.
void dirty_notes::wait(piece &writer) {
  if (state_.metadata->has_room_for(writer.cached_in)) {
    want(writer.cached_in);
  } else if (state_.metadata->is_full()) {
    state_.metadata->stop_exact();
  }
  writer.sent_to = piece::place::note;
  waiting_.push(writer);
}

void dirty_notes::frozen() {
  being_noted_.insert(being_noted_.end(), wanted_.begin(), wanted_.end());
  wanted_.clear();
  is_clearing_ = std::exchange(is_forgetting_, false) || is_clearing_;
}

// Of a block that is suspect neither mapping nor bit is on disk.
void dirty_notes::committed() {
  for (const cache_block block : being_noted_) {
    if (state_.mappings->is_mapped(block) && state_.mappings->is_to_be_noted(block) &&
        !state_.mappings->is_suspect(block)) {
      state_.mappings->mark_noted(block);
    }
  }
  being_noted_.clear();
  is_clearing_ = false;
}

void dirty_notes::ended() {
  while (piece *each = waiting_.pop()) {
    state_.returned.push(*each);
  }
}

void dirty_notes::give_up() {
  wanted_.clear();
  being_noted_.clear();
  is_forgetting_ = false;
  is_clearing_ = false;
}

bool dirty_notes::is_quiet(cache_block block) const {
  return can_forget(block) && !state_.mappings->is_recent(block) &&
         !state_.locks.has_piece_in_flight(state_.mappings->origin_of(block));
}

// Each block is looked at once in the time that it has to be quiet for.
bool dirty_notes::tick() {
  if (!state_.is_exact || !state_.metadata->is_exact()) {
    return false;
  }
  using seconds = std::chrono::duration<double>;
  const std::uint64_t nr_blocks = state_.mappings->nr_cache_blocks();
  const double nr_in_a_second =
      static_cast<double>(nr_blocks) / seconds{state_.options.dirty_linger}.count();
  const auto nr_until_now =
      static_cast<std::uint64_t>(seconds{state_.now}.count() * nr_in_a_second);
  std::uint64_t nr_left = std::min(nr_blocks, nr_until_now - nr_looked_at_.value_or(nr_until_now));
  nr_looked_at_ = nr_until_now;
  bool is_any = false;
  for (; nr_left != 0; --nr_left) {
    const cache_block block{(nr_until_now - nr_left) % nr_blocks};
    if (!state_.mappings->is_noted(block)) {
      continue;
    }
    if (is_quiet(block)) {
      if (state_.metadata->has_room_for(block)) {
        forget(block);
        is_any = true;
      }
    } else {
      state_.mappings->mark_recent(block, false);
    }
  }
  return is_any;
}

void dirty_notes::forget(cache_block block) {
  state_.mappings->forget_note(block);
  state_.metadata->dirty_changed(block);
  is_forgetting_ = true;
}

void dirty_notes::forget_all() {
  for (std::uint64_t i = 0; i < state_.mappings->nr_cache_blocks(); ++i) {
    if (const cache_block block{i}; can_forget(block)) {
      state_.mappings->forget_note(block);
    }
  }
}

} // namespace dmcache
