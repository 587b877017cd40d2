#include "caching/engine/data_path.h"

#include <algorithm>
#include <utility>

#include "base/assert.h"

namespace dmcache {
namespace {

using operation = request::operation;

std::error_code io_error() {
  return std::make_error_code(std::errc::io_error);
}

// Does it change what the block holds?
bool changes_data(const piece &which) {
  return which.of->op == operation::write || which.of->op == operation::write_zeroes;
}

bool carries_data(const piece &which) {
  return which.of->op == operation::read || which.of->op == operation::write;
}

} // namespace

data_path::data_path(cache_state &state, migrator &migrations,
                     std::function<void(request &)> complete)
    : state_{state}, migrations_{migrations}, complete_{std::move(complete)} {}

void data_path::submit(request &which) {
  ++nr_requests_;
  if (which.outcome) [[unlikely]] { // of the last time
    which.outcome.clear();
  }
  which.failed_flushes = state_.failed_flushes;
  which.nr_open = 1;
  which.split_to = which.offset;
  if (unsplit_.empty() && !is_splitting_) [[likely]] {
    begin(which);
    if (split(which)) {
      return;
    }
  }
  unsplit_.push(which);
}

void data_path::begin(request &which) {
  if (which.op == operation::discard) {
    discarding_.push_back({&which, {}});
  }
}

void data_path::complete(request &which) {
  --nr_requests_;
  if (which.op == operation::discard) {
    end_discard(which);
  }
  complete_(which);
}

// What was discarded, and not written to meanwhile, counts as such from here on.
void data_path::end_discard(const request &which) {
  const auto ended = std::ranges::find(discarding_, &which, &discarding::by);
  if (!which.outcome) {
    const std::uint64_t end = which.offset.value() + which.length.value();
    state_.discards->set_within(sectors{which.offset.value() / sector_size},
                                sectors{end / sector_size});
    for (const std::uint64_t block : ended->written) {
      state_.discards->clear(block);
    }
  }
  discarding_.erase(ended);
}

// False: there are not enough pieces. To be called again when there are.
bool data_path::split(request &which) {
  const std::uint64_t end = which.offset.value() + which.length.value();
  is_in_split_ = true;
  while (which.split_to.value() < end) {
    piece *part = take_piece(which);
    if (part == nullptr) {
      break;
    }
    const std::uint64_t at = which.split_to.value();
    const std::uint64_t block = at / state_.block_size;
    const std::uint64_t start = block * state_.block_size;
    part->of = &which;
    part->block = origin_block{block};
    part->begin = static_cast<std::uint32_t>(at - start);
    part->end = static_cast<std::uint32_t>(std::min<std::uint64_t>(state_.block_size, end - start));
    which.split_to = bytes{start + part->end};
    part->is_counted = false;
    ++which.nr_open;
    if (state_.locks.enter(*part)) {
      route(*part);
    }
  }
  is_in_split_ = false;
  last_sent_ = nullptr;
  if (which.split_to.value() < end) {
    return false;
  }
  if (--which.nr_open == 0) {
    complete(which);
  }
  return true;
}

piece *data_path::take_piece(request &of) {
  if (of.split_to == of.offset) {
    return &of.first;
  }
  if (free_pieces_.empty() && spare_pieces_.size() < max_spare_pieces) {
    spare_pieces_.push_back(std::make_unique<piece>());
    return spare_pieces_.back().get();
  }
  return free_pieces_.pop();
}

void data_path::give_turns() {
  if (is_giving_turns_) { // further up in the same call
    return;
  }
  is_giving_turns_ = true;
  while (piece *next = state_.locks.next_admitted()) {
    if (next->fast_error) [[unlikely]] { // of the last time, and the block was to leave
      if (state_.metadata_is == metadata_mode::fail) { // it can't any more
        mark_dirty(next->cached_in);
      }
      next->fast_error.clear();
    }
    route(*next);
  }
  is_giving_turns_ = false;
}

void data_path::route(piece &which) {
  if (state_.metadata_is == metadata_mode::fail) [[unlikely]] {
    end(which, io_error());
    return;
  }
  const bool was_discarded = is_any_discarded() && clear_discard(which);
  if (!state_.is_cacheable(which.block)) [[unlikely]] {
    send_to_origin(which);
  } else if (const auto block = state_.mappings->find(which.block)) {
    hit(which, *block);
  } else {
    miss(which, was_discarded);
  }
}

// Is its block discarded? If it is written to, not any more.
bool data_path::clear_discard(const piece &which) {
  const std::uint64_t block =
      state_.origin_offset(which.block).value() / to_bytes(state_.discards->block_size()).value();
  if (block >= state_.discards->nr_blocks()) { // the last one, which isn't whole
    return false;
  }
  const bool is_discarded = state_.discards->test(block);
  if (changes_data(which)) {
    state_.discards->clear(block);
    for (discarding &each : discarding_) {
      each.written.push_back(block);
    }
  }
  return is_discarded;
}

void data_path::count(piece &which, std::uint32_t &reads, std::uint32_t &writes) {
  if (which.is_counted) {
    return;
  }
  which.is_counted = true;
  reads += which.of->op == operation::read ? 1U : 0U;
  writes += changes_data(which) ? 1U : 0U;
}

void data_path::hit(piece &which, cache_block block) {
  count(which, state_.statistics.read_hits, state_.statistics.write_hits);
  switch (which.of->op) {
  case operation::read:
    state_.decisions->hit(block);
    if (state_.mode == cache_mode::passthrough) {
      send_to_origin(which);
    } else {
      send_to_fast(which, block);
    }
    return;
  case operation::write:
  case operation::write_zeroes:
    state_.decisions->hit(block);
    write_hit(which, block);
    return;
  case operation::discard:
    discard_hit(which, block);
    return;
  case operation::prefetch:
  case operation::flush:
    end(which, {});
    return;
  }
}

void data_path::write_hit(piece &which, cache_block block) {
  if (state_.mode == cache_mode::passthrough) {
    if (!migrations_.invalidate(block, &which)) {
      end(which, io_error()); // the mapping would come back at the next start, and hide the write
    }
    return;
  }
  if (state_.mode == cache_mode::writethrough && !state_.mappings->is_dirty(block)) {
    send_to_both(which, block);
    return;
  }
  // Dirty before it is written: whatever becomes of the write, the fast device has the truth.
  if (state_.mappings->is_settling(block)) {
    migrations_.unsettle(block);
  }
  mark_dirty(block);
  send_to_fast(which, block);
}

// If it is still mapped.
void data_path::mark_dirty(cache_block block) {
  if (state_.mappings->is_mapped(block) && !state_.mappings->is_dirty(block)) {
    state_.mappings->mark_dirty(block);
    state_.decisions->mark_dirty(block);
  }
}

// A clean block stays the same as the origin: if all of it is discarded, it leaves the cache. What
// is dirty the origin doesn't have anyway.
void data_path::discard_hit(piece &which, cache_block block) {
  const bool is_whole = which.begin == 0 && which.end == state_.block_size;
  const bool may_leave = is_whole || state_.mode == cache_mode::passthrough;
  if (!may_leave || state_.mappings->is_dirty(block) || !migrations_.invalidate(block, &which)) {
    end(which, {});
  }
}

promotion data_path::possible_promotion(const piece &which, bool was_discarded) const {
  const operation op = which.of->op;
  // Zeroes are cheap wherever they are, and would take the place of what isn't.
  if (state_.mode == cache_mode::passthrough || op == operation::discard ||
      op == operation::write_zeroes || !migrations_.may_promote() ||
      state_.locks.has_migration(which.block)) {
    return promotion::none;
  }
  if (!which.of->is_write()) {
    return was_discarded || !migrations_.has_room() ? promotion::none : promotion::by_copy;
  }
  const bool is_whole = which.begin == 0 && which.end == state_.block_size;
  // Beside what others are writing the rest of a discarded block isn't zero.
  const bool is_alone = which.cell->in_flight == &which && which.next == nullptr;
  if (state_.mode == cache_mode::writeback && (is_whole || (was_discarded && is_alone))) {
    return promotion::without_copy;
  }
  return migrations_.has_room() ? promotion::by_copy : promotion::none;
}

void data_path::miss(piece &which, bool was_discarded) {
  count(which, state_.statistics.read_misses, state_.statistics.write_misses);
  if (which.of->op == operation::discard) {
    send_to_origin(which);
    return;
  }
  if (migrations_.join(which)) {
    return;
  }
  const promotion possible = possible_promotion(which, was_discarded);
  const auto into = state_.decisions->miss(which.block, possible);
  if (into && possible == promotion::without_copy) {
    migrations_.overwrite(which, *into);
  } else if (into && which.of->op == operation::read) {
    migrations_.promote(which.block, *into, &which);
  } else {
    if (into) { // when the write is done
      migrations_.promote(which.block, *into, nullptr);
    }
    send_to_origin(which);
  }
  migrations_.work();
}

void data_path::send_to_fast(piece &which, cache_block block) {
  which.cached_in = block;
  which.went_to_fast = true;
  issue(which, which.io, cache_device::fast, state_.fast_offset(block) + which.begin);
}

void data_path::send_to_origin(piece &which) {
  which.went_to_fast = false;
  const operation op = which.of->op;
  if (op == operation::prefetch || (op == operation::discard && !(state_.options.discard_passdown &&
                                                                  state_.origin_can_discard))) {
    end(which, {});
    return;
  }
  issue(which, which.io, cache_device::origin, state_.origin_offset(which.block) + which.begin);
}

// The piece has the block's range for itself, so both devices see overlapping writes in one order.
void data_path::send_to_both(piece &which, cache_block block) {
  which.cached_in = block;
  which.went_to_fast = true;
  which.nr_ios = 2;
  last_sent_ = nullptr;
  issue(which, which.io, cache_device::fast, state_.fast_offset(block) + which.begin);
  issue(which, which.mirror_io, cache_device::origin,
        state_.origin_offset(which.block) + which.begin);
  which.io.on_done = mirrored_io_done;
  which.mirror_io.on_done = mirrored_io_done;
  last_sent_ = nullptr;
}

void data_path::issue(piece &which, engine_io &io, cache_device on, bytes offset) {
  io.op = which.of->op;
  io.on = on;
  io.offset = offset;
  io.length = bytes{which.end - which.begin};
  io.data = carries_data(which) ? state_.data_of(which) : std::span<std::byte>{};
  io.may_trim = which.of->may_trim;
  io.on_done = io_done;
  io.context = this;
  io.first_piece = &which;
  which.next_queued = nullptr;
  if (!append_to_last(which, io)) {
    state_.io.issue(io);
    last_sent_ = is_in_split_ ? &which : nullptr;
    last_rider_ = last_sent_;
  }
}

// Pieces of one request that lie side by side on a device share an I/O.
bool data_path::append_to_last(piece &which, const engine_io &io) {
  if (last_sent_ == nullptr || last_sent_->of != which.of) {
    return false;
  }
  engine_io &last = last_sent_->io;
  const bool is_adjacent = last.on == io.on && last.offset + last.length.value() == io.offset &&
                           last.data.data() + last.data.size() == io.data.data();
  if (!is_adjacent) { // on the device, and in memory
    return false;
  }
  last.length = last.length + io.length.value();
  if (carries_data(which)) {
    last.data = {last.data.data(), last.length.value()};
  }
  last_rider_->next_queued = &which;
  last_rider_ = &which;
  return true;
}

void data_path::io_done(void *context, engine_io &io, std::error_code error) {
  auto &self = *static_cast<data_path *>(context);
  piece *each = io.first_piece;
  while (each != nullptr) {
    piece &ended = *each;
    each = std::exchange(ended.next_queued, nullptr);
    if (ended.went_to_fast && error) [[unlikely]] {
      self.ended_on_fast(ended, error);
    } else {
      self.end(ended, error);
    }
  }
}

// An error of the fast device on reading a clean block: the origin has the same.
void data_path::ended_on_fast(piece &which, std::error_code error) {
  if (which.of->op != operation::read || state_.mappings->is_dirty(which.cached_in)) {
    end(which, error);
    return;
  }
  ++state_.counts.fast_errors_served;
  migrations_.invalidate(which.cached_in, nullptr);
  send_to_origin(which);
}

void data_path::mirrored_io_done(void *context, engine_io &io, std::error_code error) {
  auto &self = *static_cast<data_path *>(context);
  piece &which = *io.first_piece;
  (io.on == cache_device::fast ? which.fast_error : which.origin_error) = error;
  if (--which.nr_ios == 0) {
    self.ended_on_both(which);
  }
}

void data_path::ended_on_both(piece &which) {
  if (!which.fast_error && !which.origin_error) {
    end(which, {});
    return;
  }
  // The origin has it and the fast device has not: the block leaves the cache, and then the write
  // is done once more, as a miss.
  if (!which.origin_error && !state_.mappings->is_dirty(which.cached_in) &&
      migrations_.invalidate(which.cached_in, &which)) {
    return;
  }
  // The two differ from now on, and dirty says which one counts.
  mark_dirty(which.cached_in);
  const std::error_code error = which.origin_error ? which.origin_error : which.fast_error;
  which.fast_error.clear();
  end(which, error);
}

void data_path::end(piece &which, std::error_code outcome) {
  state_.locks.leave(which);
  finish(which, outcome);
  give_turns();
}

void data_path::finish(piece &which, std::error_code outcome) {
  request &of = *which.of;
  if (outcome && !of.outcome) [[unlikely]] {
    of.outcome = outcome;
  }
  if (&which != &of.first) {
    free_pieces_.push(which);
  }
  if (--of.nr_open == 0) {
    complete(of);
  }
  if (unsplit_.empty() || is_splitting_) [[likely]] {
    return;
  }
  is_splitting_ = true;
  while (!unsplit_.empty()) {
    request &next = *unsplit_.front();
    if (next.split_to == next.offset) {
      begin(next);
    }
    unsplit_.pop(); // it may be completed by split()
    if (!split(next)) {
      unsplit_.push_front(next);
      break;
    }
  }
  is_splitting_ = false;
}

} // namespace dmcache
