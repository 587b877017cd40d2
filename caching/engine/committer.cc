#include "caching/engine/committer.h"

#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "caching/engine/io_description.h"

namespace dmcache {

committer::committer(cache_state &state, std::function<void(const outcome &)> ended)
    : state_{state}, ended_{std::move(ended)}, wake_{state.ready}, notes_{state} {}

void committer::wait_for_note(piece &writer) {
  notes_.wait(writer);
  is_begin_wanted_ = notes_.is_commit_due();
}

void committer::wrote_noted() {
  notes_.written_one();
  is_begin_wanted_ = notes_.is_commit_due();
}

void committer::note(cache_block block) {
  if (!state_.is_exact) {
    return;
  }
  if (state_.metadata->has_room_for(block)) {
    notes_.want(block);
  } else {
    state_.metadata->stop_exact();
  }
}

flow<> committer::forget_notes() {
  for (std::uint64_t i = 0; i < state_.mappings->nr_cache_blocks(); ++i) {
    const cache_block block{i};
    const auto is_to_go = [&] { return state_.is_exact && notes_.can_forget(block); };
    while (is_to_go() && !state_.metadata->has_room_for(block) && !state_.metadata->is_full()) {
      const outcome written = co_await commit(true);
      if (!written.is_good()) { // there will be no room before the device is mended
        co_return;
      }
    }
    if (is_to_go() && state_.metadata->has_room_for(block)) {
      notes_.forget(block);
    }
  }
  co_await commit(true);
}

void committer::mapped(cache_block block) {
  mapped_.push_back(block);
  unmapped(block);
}

void committer::unmapped(cache_block block) {
  state_.metadata->changed(block);
  want_by(state_.now + max_delay);
}

void committer::mirrored(cache_block block) {
  state_.mappings->mark_recent(block, true);
  if (!state_.mappings->is_unflushed(block)) {
    state_.mappings->mark_unflushed(block, true);
    mirrored_.push_back(block);
  }
}

void committer::want_by(instant when) {
  due_ = due_ ? std::min(*due_, when) : when;
}

void committer::settle(cache_block block, settled_for reason) {
  if (state_.mappings->is_settling(block)) {
    for (std::vector<settling_block> *list : {&settling_, &being_settled_}) {
      const auto found = std::ranges::find(*list, block, &settling_block::block);
      if (found != list->end() && reason == settled_for::policy) {
        found->reason = reason;
      }
    }
    return;
  }
  state_.mappings->mark_settling(block, true);
  settling_.push_back({block, reason});
  settling_due_ = settling_due_.value_or(state_.now + max_delay);
  const std::uint64_t part_of_cache = state_.mappings->nr_cache_blocks() / 16;
  if (settling_.size() >= std::clamp<std::uint64_t>(part_of_cache, 1, max_settling)) {
    hurry_settling();
  }
}

void committer::hurry_settling() {
  if (!settling_.empty()) {
    is_settling_wanted_ = true;
    wake_.happen();
  }
}

void committer::unsettle(cache_block block) {
  std::size_t nr_found = 0;
  for (std::vector<settling_block> *list : {&settling_, &being_settled_}) {
    const auto found = std::ranges::find(*list, block, &settling_block::block);
    if (found != list->end()) {
      const settling_block given_up = *found;
      list->erase(found);
      tell_policy(given_up, false);
      ++nr_found;
    }
  }
  require(nr_found == 1, "a block settles once at a time");
  state_.mappings->mark_settling(block, false);
}

void committer::tell_policy(const settling_block &settled, bool is_clean) {
  if (settled.reason == settled_for::policy) {
    state_.policy->completed({background_work::kind::write_back, settled.block}, is_clean);
  } else if (is_clean) {
    state_.policy->mark_clean(settled.block);
  }
}

// If the fast device could not be flushed, it may have lost what was written back, and would hide what
// the origin has after a power cut.
void committer::settle_all(outcome &result) {
  const bool is_durable = !result.origin;
  for (const settling_block &each : std::exchange(being_settled_, {})) {
    const cache_block block = each.block;
    if (is_durable) {
      state_.mappings->mark_clean(block);
      state_.mappings->mark_recent(block, true);
      counts_.settled += each.reason == settled_for::policy ? 1U : 0U;
      if (result.fast) {
        lost_.push_back(block);
        result.has_held_back = true;
      }
    } else {
      state_.mappings->mark_settling(block, false);
      ++counts_.unsettled;
    }
    tell_policy(each, is_durable);
  }
}

void committer::tick() {
  if (notes_.tick()) {
    want_by(state_.now + dirty_notes::forget_delay);
  }
  if (is_wanted()) {
    wake_.happen();
  }
}

bool committer::is_wanted() const {
  return can_complete_requests() || !waiting_flows_.empty() || is_settling_due() ||
         notes_.is_commit_due() || (due_ && *due_ <= state_.now);
}

flow<> committer::run() {
  for (;;) {
    while (!is_wanted()) {
      co_await wake_;
    }
    const needs wanted = take_needs();
    if (can_complete_requests()) {
      being_made_durable_ = waiting_requests_.take_all();
    }
    const std::vector<waiting_flow> flows = std::exchange(waiting_flows_, {});
    is_committing_ = true;
    const outcome result = co_await commit_once(wanted);
    is_committing_ = false;
    for (const waiting_flow &each : flows) {
      *each.result = result;
      state_.ready.add(each.flow);
    }
    ended_(result);
    complete(being_made_durable_, result);
    notes_.ended();
  }
}

void committer::begin_flush(cache_device on, io_group &in, std::error_code &error) {
  if (state_.flushes.is_needed(on)) {
    state_.flushes.begin(on);
    in.flush(on, error);
  }
}

// Of those who wait, each needs what it was written to.
committer::needs committer::take_needs() {
  needs all{is_flush_wanted_, is_flush_wanted_};
  if (!state_.is_withdrawing) {
    for (const request *each = waiting_requests_.front(); each != nullptr; each = each->next) {
      all.fast = true;
      all.origin = all.origin || each->op == request::operation::flush || !each->is_on_fast_alone;
    }
  }
  is_flush_wanted_ = false;
  return all;
}

flow<committer::outcome> committer::commit_once(needs wanted) {
  outcome result;
  due_.reset();
  if (is_settling_due() || wanted.origin) {
    being_settled_ = std::exchange(settling_, {});
    is_settling_wanted_ = false;
    settling_due_.reset();
  }
  result.is_as_before = state_.mode_of_metadata == metadata_mode::read_only;
  std::optional<online_metadata::commit> made = freeze(result);
  co_await flush_data(made, wanted, result);
  if (result.is_loss() && result.metadata && state_.is_exact) {
    stop_exact(made);
    made = freeze(result);
    co_await flush_data(made, wanted, result);
  }
  settle_all(result);
  if (made) {
    result.metadata = result.metadata && co_await write_superblock(made->superblock);
    if (result.metadata) {
      state_.metadata->committed();
      state_.is_exact = state_.metadata->is_exact();
      ++counts_.commits;
      for (const cache_block block : std::exchange(being_stored_, {})) {
        if (state_.mappings->is_mapped(block) && !state_.mappings->is_suspect(block)) {
          state_.mappings->mark_stored(block);
        }
      }
      notes_.committed();
    }
  }
  if (!result.metadata && state_.may_change_metadata()) {
    co_await give_up_metadata();
    result.has_held_back = true;
  }
  result.metadata = result.metadata && state_.mode_of_metadata != metadata_mode::read_only &&
                    state_.mode_of_metadata != metadata_mode::fail;
  co_return result;
}

// Nothing, if there is nothing to commit, or it can't be.
std::optional<online_metadata::commit> committer::freeze(outcome &result) {
  if (is_given_up_) {
    result.metadata = false;
    return {};
  }
  if (!state_.may_change_metadata() || !state_.metadata->has_changes()) {
    return {};
  }
  auto frozen = state_.metadata->freeze();
  if (!frozen) {
    result.metadata = false;
    return {};
  }
  being_stored_ = std::exchange(mapped_, {});
  notes_.frozen();
  return std::move(*frozen);
}

// What a device may have lost makes the two differ, though no dirty bit says so. From the commit
// that is made now on, nobody believes them after a crash.
void committer::stop_exact(const std::optional<online_metadata::commit> &made) {
  state_.metadata->stop_exact();
  if (made) {
    thaw();
  }
}

void committer::thaw() {
  state_.metadata->thaw();
  mapped_.insert(mapped_.end(), being_stored_.begin(), being_stored_.end());
  being_stored_.clear();
}

// Flushes what has to be, and writes the blocks of the commit meanwhile. If the fast device can't be
// flushed, the commit is made anew without the blocks that it would rely on.
flow<> committer::flush_data(std::optional<online_metadata::commit> &made, needs wanted,
                             outcome &result) {
  const bool are_both_needed = wanted.origin || !being_settled_.empty() || notes_.is_clearing();
  const bool is_fast_needed = wanted.fast || are_both_needed || !being_stored_.empty();
  const bool was_any_dirty = state_.mappings->nr_dirty() != 0;
  std::error_code fast;
  std::error_code origin;
  std::error_code blocks;
  {
    io_group on_fast{state_};
    if (is_fast_needed) {
      take_mirrored();
      begin_flush(cache_device::fast, on_fast, fast);
    }
    io_group rest{state_};
    if (are_both_needed) {
      begin_flush(cache_device::origin, rest, origin);
    }
    if (made) {
      write_blocks(*made, rest, blocks);
    }
    bool is_rest_over = false;
    flows_.start(wait_for(rest, is_rest_over));
    co_await on_fast;
    state_.flushes.ended(cache_device::fast);
    co_await complete_those_of_fast(is_rest_over, fast);
    state_.flushes.ended(cache_device::origin);
    result.metadata = result.metadata && !blocks;
  }
  if (origin) { // and what was written meanwhile may be lost as well
    result.origin = origin;
    state_.flushes.failed(cache_device::origin);
    settling_failure_ =
        description_of(engine_io::operation::flush, cache_device::origin, {}, {}, origin);
    being_settled_.insert(being_settled_.end(), settling_.begin(), settling_.end());
    settling_.clear();
    settling_due_.reset();
  }
  if (fast) {
    const bool is_loss = was_any_dirty || state_.mappings->nr_dirty() != 0;
    result.fast = fast;
    result.is_fast_needed = result.is_fast_needed || is_loss;
    state_.flushes.failed(cache_device::fast, is_loss);
    if (made && result.metadata) {
      thaw();
    }
    result.has_held_back = hold_back_what_was_lost();
    if (made && result.metadata) {
      made = freeze(result);
      if (made) {
        std::error_code error;
        io_group writing{state_};
        write_blocks(*made, writing, error);
        co_await writing;
        result.metadata = result.metadata && !error;
      }
    }
  }
  being_flushed_.clear();
}

flow<> committer::wait_for(io_group &rest, bool &is_rest_over) {
  co_await rest;
  is_rest_over = true;
  wake_.happen();
}

void committer::take_mirrored() {
  being_flushed_ = std::exchange(mirrored_, {});
  for (const cache_block block : being_flushed_) {
    if (state_.mappings->is_mapped(block)) {
      state_.mappings->mark_unflushed(block, false);
    }
  }
}

void committer::write_blocks(const online_metadata::commit &made, io_group &in,
                             std::error_code &error) {
  for (const auto &block : made.blocks) {
    in.write(cache_device::metadata, offset_of(block.where), block.data, error);
  }
}

// The fast device may have lost what was written to it. The metadata mustn't come to claim any of
// it that they don't claim yet; and what they do claim as clean has to leave the cache.
bool committer::hold_back_what_was_lost() {
  bool is_any = false;
  for (std::vector<cache_block> *list : {&being_stored_, &mapped_}) {
    for (const cache_block block : std::exchange(*list, {})) {
      if (state_.mappings->is_mapped(block) && !state_.mappings->is_stored(block)) {
        state_.mappings->mark_suspect(block);
        state_.metadata->changed(block);
        is_any = true;
      }
    }
  }
  for (std::vector<cache_block> *list : {&being_flushed_, &mirrored_}) {
    for (const cache_block block : std::exchange(*list, {})) {
      if (state_.mappings->is_mapped(block)) {
        state_.mappings->mark_unflushed(block, false);
        note(block); // until it has left
        lost_.push_back(block);
        is_any = true;
      }
    }
  }
  return is_any;
}

flow<bool> committer::write_superblock(std::span<std::byte> data) {
  std::error_code error;
  {
    io_group before{state_};
    before.flush(cache_device::metadata, error);
    co_await before;
  }
  if (!error) {
    io_group writing{state_};
    writing.write(cache_device::metadata, bytes{}, data, error);
    co_await writing;
  }
  if (!error) {
    io_group after{state_};
    after.flush(cache_device::metadata, error);
    co_await after;
  }
  co_return !error;
}

flow<> committer::give_up_metadata() {
  state_.mode_of_metadata = metadata_mode::read_only;
  mapped_.clear();
  being_stored_.clear();
  notes_.give_up();
  const auto needs_check = state_.metadata->abort();
  const bool is_marked = co_await write_superblock(needs_check);
  if (is_marked) {
    state_.is_exact = false; // and no sooner: until then a crash would have the bits believed
  } else {
    state_.mode_of_metadata = metadata_mode::fail;
  }
}

} // namespace dmcache
