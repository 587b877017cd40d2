#include "caching/policy/sift.h"

#include <algorithm>

#include "base/assert.h"

namespace dmcache {
namespace {

constexpr std::uint32_t hint_of_hand = 8;
constexpr std::uint32_t hint_of_count = 7;
constexpr std::uint64_t default_clean_after = 60;
// The hand goes no further at a time, since requests wait for it.
constexpr std::uint64_t max_steps = 4096;

// Writing a block from one end to the other in pieces of this size doesn't make it worth a copy.
constexpr std::uint64_t piece_of_stream = 64 << 10;

std::uint32_t default_write_touches(sectors block_size) {
  const std::uint64_t of_stream = to_bytes(block_size).value() / piece_of_stream;
  return static_cast<std::uint32_t>(
      std::clamp<std::uint64_t>(of_stream + 2, 3, touch_tally::max_count));
}

} // namespace

sift::sift(const policy_geometry &geometry, double share)
    : slots_(geometry.nr_cache_blocks), tally_{geometry.nr_cache_blocks}, reuse_{share},
      free_{geometry.nr_cache_blocks},
      reserve_{std::clamp<std::uint64_t>(geometry.nr_cache_blocks / 32, 1, 64)},
      write_touches_{default_write_touches(geometry.block_size)},
      clean_after_{default_clean_after} {}

sift::slot &sift::slot_of(cache_block block) {
  require(block.value() < slots_.size(), "the cache has the block");
  return slots_[block.value()];
}

const sift::slot &sift::slot_of(cache_block block) const {
  require(block.value() < slots_.size(), "the cache has the block");
  return slots_[block.value()];
}

void sift::change(slot &of, place at, bool is_dirty) {
  waiting_dirty_ -= of.at == place::used && of.is_dirty ? 1 : 0;
  of.at = at;
  of.is_dirty = is_dirty;
  waiting_dirty_ += of.at == place::used && of.is_dirty ? 1 : 0;
}

void sift::set_free(slot &of) {
  change(of, place::free, false);
  of = slot{};
  ++free_;
}

// Without a hint, every other one is spared once by the hand.
void sift::load(cache_block block, origin_block /*of*/, bool is_dirty,
                std::optional<std::uint32_t> hint) {
  slot &loaded = slot_of(block);
  require(loaded.at == place::free, "a block that is loaded was free");
  change(loaded, place::used, is_dirty);
  --free_;
  const std::uint64_t count = hint ? *hint & hint_of_count : block.value() % 2;
  loaded.count = std::min<std::uint64_t>(count, max_hits) & max_hits;
  if (hint && (*hint & hint_of_hand) != 0) {
    hand_ = block.value();
  }
}

std::uint32_t sift::hint(cache_block block) const {
  const slot &of = slot_of(block);
  require(is_in_use(of), "a block of which a hint is asked for is in use");
  return of.count | (block.value() == hand_ ? hint_of_hand : 0);
}

void sift::hit(cache_block block) {
  slot &of = slot_of(block);
  require(is_in_use(of), "a block that is hit is in use");
  if (of.count < max_hits) {
    ++of.count;
  }
  if (of.is_first && last_hit_ != block) {
    of.is_first = false;
    reuse_.learn(true);
  }
  last_hit_ = block;
}

std::optional<cache_block> sift::miss(origin_block block, promotion possible) {
  using kind = touch_tally::touch_kind;
  const touch_tally::touched touched =
      tally_.touch(block, last_missed_ != block ? kind::of_new_visit
                          : reuse_.is_likely()  ? kind::of_same_visit
                                                : kind::of_same_visit_uncounted);
  if (touched.has_lost_unvisited) {
    reuse_.learn(false);
  }
  if (touched.is_first_return) {
    reuse_.learn(true);
  }
  last_missed_ = block;
  last_hit_.reset();
  if (possible == promotion::none) {
    return {};
  }
  is_demotion_futile_ = false;
  if (free_ == 0 || !budget_.has_any() || touched.count < touches_needed(possible)) {
    return {};
  }
  budget_.spend();
  tally_.forget(block);
  return reserve(!touched.is_revisited);
}

// A cache that has room takes whatever comes, unless it is a scan.
std::uint32_t sift::touches_needed(promotion possible) const {
  const bool is_write = possible != promotion::by_copy;
  const std::uint32_t of_read = read_touches();
  std::uint32_t needed = is_write             ? std::max(write_touches_, of_read)
                         : reuse_.is_likely() ? of_read
                                              : std::max(of_read, 2U);
  if (takes_whatever_comes()) {
    needed = 1;
  }
  return std::max(needed, budget_.touches_needed(touch_tally::max_count));
}

// Requires that one is free.
cache_block sift::reserve(bool is_first) {
  while (slots_[cursor_].at != place::free) {
    advance(cursor_);
  }
  slot &reserved = slots_[cursor_];
  reserved.at = place::reserved;
  reserved.is_first = is_first;
  --free_;
  return cache_block{cursor_};
}

void sift::promoted(cache_block block, bool is_done) {
  slot &ended = slot_of(block);
  require(ended.at == place::reserved, "what ends is a promotion");
  last_hit_ = block;
  if (is_done) {
    change(ended, place::used, false);
  } else {
    set_free(ended);
  }
}

void sift::mark_dirty(cache_block block) {
  slot &of = slot_of(block);
  require(is_in_use(of), "a block that becomes dirty is in use");
  change(of, of.at, true);
  of.is_rewritten = true;
}

void sift::mark_clean(cache_block block) {
  slot &of = slot_of(block);
  require(is_in_use(of), "a block that becomes clean is in use");
  change(of, of.at, false);
}

std::optional<background_work> sift::next_work(bool is_idle) {
  if (const auto work = make_room(true)) {
    return work;
  }
  return sweep(is_idle);
}

std::optional<background_work> sift::next_demotion() {
  return make_room(false);
}

// What was written back for it goes first; then whatever wasn't hit since the hand came by.
std::optional<background_work> sift::make_room(bool may_write_back) {
  for (std::uint64_t i = 0; free_ + demoting_ < reserve_ && !is_demotion_futile_ && i < max_steps;
       ++i) {
    if (nr_cleaned_ > 0) {
      const std::uint64_t cleaned = cleaned_.at(--nr_cleaned_);
      const slot &of = slots_[cleaned];
      if (of.at == place::used && !of.is_dirty && of.count == 0) {
        return demote(cleaned);
      }
      continue;
    }
    const std::uint64_t number = hand_;
    advance(hand_);
    slot &of = slots_[number];
    if (of.at != place::used) {
      continue;
    }
    if (of.count != 0) {
      --of.count;
    } else if (!of.is_dirty) {
      return demote(number);
    } else if (may_write_back) {
      return write_back(number, place::cleaning_for_room);
    }
  }
  return {};
}

// Writes back whatever is dirty, or under load what wasn't dirtied since it came by.
std::optional<background_work> sift::sweep(bool is_idle) {
  if (waiting_dirty_ == 0) {
    sweep_ = is_idle ? sweep_ : (sweep_ + std::exchange(due_, 0)) % slots_.size();
    return {};
  }
  std::uint64_t every_one = slots_.size();
  for (std::uint64_t &left = is_idle ? every_one : due_; left > 0;) {
    --left;
    const std::uint64_t number = sweep_;
    advance(sweep_);
    slot &of = slots_[number];
    if (of.at != place::used || !of.is_dirty) {
      continue;
    }
    if (is_idle || !of.is_rewritten) {
      return write_back(number, place::cleaning);
    }
    of.is_rewritten = false;
  }
  return {};
}

background_work sift::demote(std::uint64_t number) {
  change(slots_[number], place::demoting, false);
  ++demoting_;
  return {background_work::kind::demote, cache_block{number}};
}

background_work sift::write_back(std::uint64_t number, place at) {
  change(slots_[number], at, true);
  slots_[number].is_rewritten = false;
  return {background_work::kind::write_back, cache_block{number}};
}

// Where a block could not be demoted, most likely none can, until something may be promoted again:
// dirty ones needn't wait for that.
void sift::completed(const background_work &work, bool is_done) {
  slot &of = slot_of(work.block);
  if (work.task == background_work::kind::demote) {
    require(of.at == place::demoting, "what ends is a demotion");
    --demoting_;
    if (!is_done) {
      is_demotion_futile_ = true;
      change(of, place::used, of.is_dirty);
      return;
    }
    if (of.is_first) {
      reuse_.learn(false);
    }
    set_free(of);
    return;
  }
  require(of.at == place::cleaning || of.at == place::cleaning_for_room,
          "what ends is a writeback");
  const bool was_for_room = of.at == place::cleaning_for_room;
  change(of, place::used, of.is_dirty && !is_done);
  if (is_done && was_for_room && of.count == 0 && nr_cleaned_ < cleaned_.size()) {
    cleaned_.at(nr_cleaned_++) = work.block.value();
  }
}

void sift::invalidated(cache_block block) {
  slot &of = slot_of(block);
  require(is_in_use(of), "a block that is invalidated is in use");
  demoting_ -= of.at == place::demoting ? 1 : 0;
  set_free(of);
}

void sift::tick(std::uint64_t seconds) {
  if (last_tick_ && seconds > *last_tick_) {
    const std::uint64_t passed = seconds - *last_tick_;
    const std::uint64_t steps = std::min(passed, clean_after_) * slots_.size() / clean_after_ + 1;
    due_ = std::min<std::uint64_t>(slots_.size(), due_ + steps);
    budget_.earn(passed);
  }
  last_tick_ = seconds;
}

} // namespace dmcache
