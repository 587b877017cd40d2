#include "caching/engine/data_path.h"

#include <algorithm>
#include <utility>

#include "base/assert.h"

namespace dmcache {
namespace {

using operation = request::operation;

// Does it change what the block holds?
bool changes_data(const piece &part) {
  return part.of->op == operation::write || part.of->op == operation::write_zeroes;
}

bool carries_data(const piece &part) {
  return part.of->op == operation::read || part.of->op == operation::write;
}

} // namespace

// One that has come back makes room for others before the next one does.
void data_path::carry_on() {
  for (;;) {
    if (piece *back = state_.returned.pop()) [[likely]] {
      if (!back->error && back->sent_to < piece::place::both) [[likely]] {
        end(*back);
      } else {
        take_back(*back);
      }
    }
    while (piece *admitted = state_.locks.next_admitted()) {
      let_go(*admitted);
    }
    if (has_to_split_) [[unlikely]] {
      split_waiting();
    }
    if (!has_to_carry_on()) {
      return;
    }
  }
}

void data_path::let_go(piece &admitted) {
  if (admitted.fast_error) [[unlikely]] { // of the last time, and the block was to leave
    if (state_.mode_of_metadata == metadata_mode::fail) { // it can't any more
      mark_dirty(admitted.cached_in);
    }
    admitted.fast_error.clear();
  }
  route(admitted);
}

void data_path::route(piece &part) {
  if (state_.mode_of_metadata == metadata_mode::fail) [[unlikely]] {
    end(part, io_error());
    return;
  }
  const bool was_discarded = is_any_discarded() && clear_discard(part);
  if (!state_.is_cacheable(part.block)) [[unlikely]] {
    send_to_origin(part);
  } else if (const auto block = state_.mappings->find(part.block)) {
    hit(part, *block);
  } else {
    miss(part, was_discarded);
  }
}

// Is its block discarded? If it is written to, not any more.
bool data_path::clear_discard(const piece &part) {
  const auto block = state_.discard_block_of(part.block);
  if (!block) {
    return false;
  }
  const bool is_discarded = state_.discards->test(*block);
  if (changes_data(part)) {
    state_.discards->clear(*block);
    for (discarding &each : discarding_) {
      each.written.push_back(*block);
    }
  }
  return is_discarded;
}

void data_path::count(piece &part, std::uint32_t &reads, std::uint32_t &writes) {
  if (part.is_counted) {
    return;
  }
  part.is_counted = true;
  reads += part.of->op == operation::read ? 1U : 0U;
  writes += changes_data(part) ? 1U : 0U;
  if (state_.advisor->follows(part.block)) [[unlikely]] {
    advise(part);
  }
}

// What is possible at the moment is of no interest here: it would be otherwise in another cache.
void data_path::advise(const piece &part) {
  if (part.of->op == operation::read) {
    state_.advisor->touch(part.block, promotion::by_copy);
  } else if (changes_data(part)) {
    const bool is_whole = part.begin == 0 && part.end == state_.block_size;
    state_.advisor->touch(part.block, part.of->op == operation::write_zeroes ? promotion::none
                                      : is_whole ? promotion::without_copy
                                                 : promotion::after_write);
  }
}

void data_path::hit(piece &part, cache_block block) {
  count(part, state_.statistics.read_hits, state_.statistics.write_hits);
  switch (part.of->op) {
  case operation::read:
    state_.policy->hit(block);
    if (state_.mode() == cache_mode::passthrough) {
      send_to_origin(part);
    } else {
      send_to_fast(part, block);
    }
    return;
  case operation::write:
  case operation::write_zeroes:
    state_.policy->hit(block);
    write_hit(part, block);
    return;
  case operation::discard:
    discard_hit(part, block);
    return;
  case operation::prefetch:
  case operation::flush:
    end(part);
    return;
  }
}

void data_path::write_hit(piece &part, cache_block block) {
  if (state_.mode() == cache_mode::passthrough) {
    if (!migrations_.invalidate(block, &part)) {
      end(part, io_error()); // the mapping would come back at the next start, and hide the write
    }
    return;
  }
  if (has_to_be_noted(block)) [[unlikely]] {
    part.cached_in = block;
    commits_.wait_for_note(part);
    return;
  }
  if (is_becoming_clean(block) && !state_.may_become_dirty()) {
    send_to_both(part, block);
    return;
  }
  // Dirty before it is written: whatever becomes of the write, the fast device has the truth.
  if (state_.mappings->is_settling(block)) {
    migrations_.unsettle(block);
  }
  mark_dirty(block);
  if (state_.mappings->is_stored(block)) [[likely]] {
    send_to_fast(part, block);
  } else { // who starts after a crash of the process would find what the origin has
    send_to_both(part, block);
  }
}

// Dirty bits on disk are at least what is dirty, if they are exact. Not if the metadata will never
// map the block.
bool data_path::has_to_be_noted(cache_block block) const {
  return state_.is_exact && !state_.mappings->is_noted(block) &&
         !state_.mappings->is_suspect(block);
}

// A write that has waited for its block to be noted.
void data_path::write_noted(piece &part) {
  if (state_.mode_of_metadata == metadata_mode::fail) {
    end(part, io_error());
    return;
  }
  write_hit(part, part.cached_in);
  if (part.sent_to == piece::place::fast) {
    part.io.on_done = noted_io_done;
    commits_.writes_noted();
  }
}

// It is clean, or will be when the origin is flushed, unless it is written to on the fast device
// alone.
bool data_path::is_becoming_clean(cache_block block) const {
  return !state_.mappings->is_dirty(block) || state_.mappings->is_settling(block);
}

// If it is still mapped.
void data_path::mark_dirty(cache_block block) {
  if (state_.mappings->is_mapped(block) && !state_.mappings->is_dirty(block)) {
    state_.mappings->mark_dirty(block);
    state_.policy->mark_dirty(block);
  }
}

// A block that is discarded as a whole leaves the cache, and nothing of it is written back any more.
// One that is discarded in part stays: if it is clean, it has to stay the same as the origin, and if
// it is dirty, the origin doesn't have the data anyway.
void data_path::discard_hit(piece &part, cache_block block) {
  const bool is_whole = part.begin == 0 && part.end == state_.block_size;
  const bool is_leaving = is_whole ? migrations_.forget(block, part)
                                   : state_.mode() == cache_mode::passthrough &&
                                         !state_.mappings->is_dirty(block) &&
                                         migrations_.invalidate(block, &part);
  if (!is_leaving) {
    end(part);
  }
}

promotion data_path::possible_promotion(const piece &part, bool was_discarded) const {
  const operation op = part.of->op;
  // Zeroes are cheap wherever they are, and would take the place of what isn't.
  if (state_.mode() == cache_mode::passthrough || op == operation::discard ||
      op == operation::write_zeroes || !migrations_.may_promote() ||
      state_.locks.has_migration(part.block)) {
    return promotion::none;
  }
  if (!part.of->is_write()) {
    return was_discarded || !migrations_.has_room() ? promotion::none : promotion::by_copy;
  }
  const bool is_whole = part.begin == 0 && part.end == state_.block_size;
  // Beside what others are writing the rest of a discarded block isn't zero.
  const bool is_alone = part.cell->in_flight == &part && part.next == nullptr;
  if (state_.may_become_dirty() && (is_whole || (was_discarded && is_alone))) {
    return promotion::without_copy;
  }
  return migrations_.has_room() ? promotion::after_write : promotion::none;
}

void data_path::miss(piece &part, bool was_discarded) {
  count(part, state_.statistics.read_misses, state_.statistics.write_misses);
  if (part.of->op == operation::discard) {
    send_to_origin(part);
    return;
  }
  if (migrator::join(part)) {
    part.sent_to = piece::place::migration;
    return;
  }
  const promotion possible = possible_promotion(part, was_discarded);
  if (const auto into = state_.policy->miss(part.block, possible)) {
    promote(part, *into, possible);
  } else {
    send_to_origin(part);
  }
  migrations_.work();
}

void data_path::promote(piece &part, cache_block into, promotion how) {
  if (how == promotion::without_copy) {
    part.sent_to = piece::place::migration;
    migrations_.overwrite(part, into);
  } else if (part.of->op != operation::read) { // when the write is done
    migrations_.promote(part.block, into, 0, nullptr);
    send_to_origin(part);
  } else if (migrations_.can_serve(part)) {
    part.sent_to = piece::place::migration;
    migrations_.promote(part.block, into, part.begin, &part);
  } else {
    send_to_origin(part);
    migrations_.promote(part.block, into, part.begin, nullptr);
  }
}

void data_path::send_to_fast(piece &part, cache_block block) {
  part.cached_in = block;
  part.sent_to = piece::place::fast;
  issue(part, part.io, cache_device::fast, state_.fast_offset(block) + part.begin);
}

void data_path::send_to_origin(piece &part) {
  part.sent_to = piece::place::origin;
  const operation op = part.of->op;
  if (op == operation::prefetch || (op == operation::discard && !(state_.options.discard_passdown &&
                                                                  state_.origin_can_discard))) {
    end(part);
    return;
  }
  issue(part, part.io, cache_device::origin, state_.origin_offset(part.block) + part.begin);
  if (op == operation::read) {
    part.io.on_done = missed_io_done;
  }
}

// The piece has the block's range for itself, so both devices see overlapping writes in one order.
void data_path::send_to_both(piece &part, cache_block block) {
  part.cached_in = block;
  part.sent_to = piece::place::both;
  if (is_becoming_clean(block)) {
    commits_.mirrored(block);
  }
  part.nr_ios = 2;
  last_sent_ = nullptr;
  issue(part, part.io, cache_device::fast, state_.fast_offset(block) + part.begin);
  issue(part, part.mirror_io, cache_device::origin, state_.origin_offset(part.block) + part.begin);
  part.io.on_done = mirrored_io_done;
  part.mirror_io.on_done = mirrored_io_done;
  last_sent_ = nullptr;
}

void data_path::issue(piece &part, engine_io &io, cache_device on, bytes offset) {
  io.op = part.of->op;
  io.on = on;
  io.offset = offset;
  io.length = bytes{part.end - part.begin};
  io.data = carries_data(part) ? state_.data_of(part) : std::span<std::byte>{};
  io.may_trim = part.of->may_trim;
  io.on_done = io_done;
  io.context = this;
  io.first_piece = &part;
  part.next_queued = nullptr;
  if (!append_to_last(part, io)) {
    state_.io.issue(io);
    last_sent_ = is_in_split_ ? &part : nullptr;
    last_rider_ = last_sent_;
  }
}

// Pieces of one request that lie side by side on a device share an I/O.
bool data_path::append_to_last(piece &part, const engine_io &io) {
  if (last_sent_ == nullptr || last_sent_->of != part.of) {
    return false;
  }
  engine_io &last = last_sent_->io;
  const bool is_adjacent = last.on == io.on && last.offset + last.length.value() == io.offset &&
                           last.data.data() + last.data.size() == io.data.data();
  if (!is_adjacent) { // on the device, and in memory
    return false;
  }
  last.length = last.length + io.length.value();
  if (carries_data(part)) {
    last.data = {last.data.data(), last.length.value()};
  }
  last_rider_->next_queued = &part;
  last_rider_ = &part;
  return true;
}

void data_path::io_done(void *context, engine_io &io, std::error_code error) {
  auto &self = *static_cast<data_path *>(context);
  piece *each = io.first_piece;
  while (each != nullptr) {
    piece &ended = *each;
    each = ended.next_queued;
    if (error) [[unlikely]] {
      ended.error = error;
    }
    self.state_.returned.push(ended);
  }
}

void data_path::missed_io_done(void *context, engine_io &io, std::error_code error) {
  if (!error) {
    static_cast<data_path *>(context)->state_.origin_reads.missed(io.ended - io.begun);
  }
  io_done(context, io, error);
}

void data_path::noted_io_done(void *context, engine_io &io, std::error_code error) {
  static_cast<data_path *>(context)->commits_.wrote_noted();
  io_done(context, io, error);
}

void data_path::mirrored_io_done(void *context, engine_io &io, std::error_code error) {
  auto &self = *static_cast<data_path *>(context);
  piece &part = *io.first_piece;
  (io.on == cache_device::fast ? part.fast_error : part.error) = error;
  if (--part.nr_ios == 0) {
    self.state_.returned.push(part);
  }
}

// One that failed, or was on both devices.
void data_path::take_back(piece &part) {
  const std::error_code error = std::exchange(part.error, {});
  switch (part.sent_to) {
  case piece::place::origin:
    end(part, error);
    return;
  case piece::place::fast:
    failed_on_fast(part, error);
    return;
  case piece::place::both:
    ended_on_both(part, error);
    return;
  case piece::place::note:
    write_noted(part);
    return;
  case piece::place::migration:
    if (part.of->op == operation::read) { // what failed may be a sector that this one doesn't want
      send_to_origin(part);
    } else {
      end(part, error);
    }
    return;
  }
}

// An error of the fast device on reading a clean block: the origin has the same.
void data_path::failed_on_fast(piece &part, std::error_code error) {
  if (part.of->op != operation::read || state_.mappings->is_dirty(part.cached_in)) {
    end(part, error);
    return;
  }
  ++nr_fast_errors_served_;
  migrations_.invalidate(part.cached_in, nullptr);
  send_to_origin(part);
}

void data_path::ended_on_both(piece &part, std::error_code origin_error) {
  if (!part.fast_error && !origin_error) {
    if (is_becoming_clean(part.cached_in)) {
      commits_.mirrored(part.cached_in); // a flush that began meanwhile doesn't cover it
    }
    end(part);
    return;
  }
  // The origin has it and the fast device has not: the block leaves the cache, and then the write
  // is done once more, as a miss.
  if (!origin_error && !state_.mappings->is_dirty(part.cached_in) &&
      migrations_.invalidate(part.cached_in, &part)) {
    return;
  }
  // The two differ from now on, and dirty says which one counts.
  if (state_.mappings->is_settling(part.cached_in)) {
    migrations_.unsettle(part.cached_in);
  }
  mark_dirty(part.cached_in);
  const std::error_code fast_error = std::exchange(part.fast_error, {});
  end(part, origin_error ? origin_error : fast_error);
}

void data_path::end(piece &part, std::error_code failure) {
  if (failure && !part.of->outcome) {
    part.of->outcome = failure;
  }
  end(part);
}

} // namespace dmcache
