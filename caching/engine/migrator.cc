#include "caching/engine/migrator.h"

#include <algorithm>
#include <cstring>

#include "base/assert.h"
#include "caching/engine/io_description.h"

namespace dmcache {
namespace {

// Blocks are copied in chunks of so many bytes: what a promotion or writeback takes of memory.
constexpr std::uint64_t chunk_size = 1 << 20;
// All of them together take no more than this, or what one block needs.
constexpr std::uint64_t max_in_chunks = 16 << 20;
// After an error nothing is begun for so long, lest it be the same error at once.
constexpr instant rest_after_error = std::chrono::seconds{1};

std::uint32_t chunk_of(const cache_state &state) {
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(chunk_size, state.block_size));
}

} // namespace

// What a flow takes of the budget, until its end.
class migrator::budget_share {
 public:
  explicit budget_share(migrator &of) : of_{of}, size_{of.state_.block_size} {
    of_.in_flight_ += size_;
  }
  budget_share(const budget_share &) = delete;
  budget_share &operator=(const budget_share &) = delete;
  ~budget_share() { of_.in_flight_ -= size_; }

 private:
  migrator &of_;
  std::uint64_t size_;
};

migrator::migrator(cache_state &state, committer &commits)
    : state_{state}, commits_{commits}, changed_{state.ready} {}

bool migrator::has_room() const {
  const std::uint64_t nr_copied = in_flight_ / state_.block_size;
  return nr_copied == 0 ||
         (in_flight_ + state_.block_size <= to_bytes(state_.options.migration_threshold).value() &&
          (nr_copied + 1) * chunk_of(state_) <= max_in_chunks);
}

void migrator::failed() {
  ++counts_.errors;
  rest_until_ = state_.now + rest_after_error;
}

void migrator::work() {
  if (is_starting_ || !state_.migrations_allowed) {
    return;
  }
  is_starting_ = true;
  while ((may_change_metadata() || (is_cleaning_ && may_write_back())) &&
         state_.now >= rest_until_ && has_room() && nr_demoting_ < max_demoting) {
    const auto next = next_work();
    if (!next) {
      break;
    }
    if (next->task == background_work::kind::demote && !may_change_metadata()) {
      state_.policy->completed(*next, false);
      break;
    }
    if (const auto leaving = std::ranges::find(leaving_, next->block, &leaving_block::block);
        leaving != leaving_.end()) {
      leaving->asked = next;
      continue;
    }
    flows_.start(next->task == background_work::kind::demote ? do_demote(*next)
                                                             : do_write_back(*next));
  }
  is_starting_ = false;
  if (in_flight_ == 0 && is_cleaning_) {
    commits_.hurry_settling();
  }
}

std::optional<background_work> migrator::next_work() {
  if (state_.options.cleaning == cleaning_trigger::on_request && !is_cleaning_) {
    return state_.policy->next_demotion();
  }
  return state_.policy->next_work(is_idle_ || is_cleaning_ || state_.is_near_dirty_limit());
}

void migrator::commit_ended(const committer::outcome &result) {
  if (!result.is_good()) {
    rest_until_ = state_.now + rest_after_error;
  }
  if (result.has_held_back || commits_.has_lost() || state_.nr_not_withdrawn != 0) {
    withdraw();
  }
  work();
}

// Lets those in who wait for the block, before the flow that had it goes on.
pieces_first migrator::release(origin_block block) {
  state_.locks.release(block);
  return {state_};
}

void migrator::promote(origin_block block, cache_block into, std::uint32_t first, piece *reader) {
  flows_.start(do_promote(block, into, first, reader));
}

bool migrator::can_serve(const piece &reader) const {
  const std::uint32_t chunk = chunk_of(state_);
  return reader.end <= std::min(reader.begin / chunk * chunk + chunk, state_.block_size);
}

bool migrator::join(piece &reader) {
  block_fill *fill = reader.cell->fill;
  if (fill == nullptr || reader.of->op != request::operation::read || reader.begin < fill->begin ||
      reader.end > fill->end) {
    return false;
  }
  fill->readers.push(reader);
  return true;
}

// Promotion. Writes are kept out of the block from the first read to the switch of the mapping, so
// that the copy is what the origin holds; reads in the meantime are right on either side. The
// mapping is made when all of the copy has been written, and committed when it has been flushed.
flow<> migrator::do_promote(origin_block block, cache_block into, std::uint32_t first,
                            piece *reader) {
  {
    const budget_share share{*this};
    const std::uint32_t chunk = chunk_of(state_);
    const std::uint32_t begin = first / chunk * chunk;
    block_fill readers{begin, std::min(begin + chunk, state_.block_size), {}};
    state_.locks.set_fill(block, &readers);
    if (reader != nullptr) {
      readers.readers.push(*reader);
    }
    const flush_record::mark flushed = state_.flushes.fast_now();
    co_await state_.locks.exclude(block, exclusion::writes);
    const bool is_copied = co_await fill(block, into, readers);
    bool is_done = is_copied;
    if (is_done) {
      is_done = co_await make_room(into);
    }
    is_done = is_done && !state_.flushes.has_fast_failed_since(flushed); // or the copy may be lost
    if (is_done) {
      state_.mappings->map(into, block);
      commits_.mapped(into);
      if (!state_.flushes.is_all_durable(cache_device::origin)) { // as the copy will be
        commits_.note(into);
      }
      ++counts_.promotions;
    } else {
      failed();
    }
    state_.policy->promoted(into, is_done);
    co_await release(block);
  }
  work();
}

// The readers are on their way before the flow goes on.
pieces_first migrator::serve(block_fill &readers, std::span<const std::byte> chunk,
                             std::error_code error) {
  while (piece *each = readers.readers.pop()) {
    each->error = error;
    if (!error) {
      std::ranges::copy(chunk.subspan(each->begin - readers.begin, each->end - each->begin),
                        state_.data_of(*each).begin());
    }
    state_.returned.push(*each);
  }
  return {state_};
}

// The first chunk is the one that readers wait for.
flow<bool> migrator::fill(origin_block block, cache_block into, block_fill &readers) {
  const std::uint32_t chunk = chunk_of(state_);
  const std::uint32_t nr_chunks = (state_.block_size + chunk - 1) / chunk;
  aligned_buffer buffer{chunk};
  const bool is_waited_for = !readers.readers.empty();
  instant time_of_reads{};
  for (std::uint32_t i = 0; i < nr_chunks; ++i) {
    const std::uint32_t at = (readers.begin / chunk + i) % nr_chunks * chunk;
    const auto data = buffer.span().first(std::min(chunk, state_.block_size - at));
    std::error_code error;
    {
      io_group reading{state_, i > 0 || !is_waited_for};
      reading.read(cache_device::origin, state_.origin_offset(block) + at, data, error);
      co_await reading;
      time_of_reads += reading.longest();
    }
    if (i == 0) {
      state_.locks.set_fill(block, nullptr);
      co_await serve(readers, data, error);
    }
    if (!error) {
      io_group writing{state_, true};
      writing.write(cache_device::fast, state_.fast_offset(into) + at, data, error);
      co_await writing;
    }
    if (error) {
      co_return false;
    }
  }
  state_.origin_reads.copied(time_of_reads);
  co_return true;
}

void migrator::overwrite(piece &writer, cache_block into) {
  flows_.start(do_overwrite(writer, into));
  state_.locks.leave(writer); // after the flow has asked for the block: it is the next to have it
}

// Promotion by a write. Nobody else is in the block until the mapping is made, which is when all of
// the cache block has been written, and committed, so that whoever starts after a crash of the process
// finds what was acknowledged, or read. If any of that fails, the write goes to the origin.
flow<> migrator::do_overwrite(piece &writer, cache_block into) {
  const origin_block block = writer.block;
  const flush_record::mark flushed = state_.flushes.fast_now();
  ++state_.nr_becoming_dirty;
  co_await state_.locks.exclude(block, exclusion::all);
  std::error_code error = co_await write_into(writer, into);
  bool is_done = !error;
  if (is_done) {
    is_done = co_await make_room(into);
  }
  is_done = is_done && !state_.flushes.has_fast_failed_since(flushed); // or it may be lost
  --state_.nr_becoming_dirty;
  if (is_done) {
    state_.mappings->map(into, block);
    state_.mappings->mark_dirty(into);
    commits_.mapped(into);
    commits_.note(into);
    ++counts_.promotions;
  }
  state_.policy->promoted(into, is_done);
  if (is_done) {
    state_.policy->mark_dirty(into);
    co_await commits_.commit();
    is_done = state_.mappings->is_stored(into);
  } else {
    failed();
  }
  if (!is_done) {
    error = co_await write_to_origin(writer);
  }
  writer.error = error;
  state_.returned.push(writer);
  co_await release(block);
  work();
}

// One after the other: what lies side by side can share a sector of the medium, or a page, which a
// device that changes a part of it reads before.
flow<std::error_code> migrator::write_into(const piece &writer, cache_block into) {
  const bytes at = state_.fast_offset(into);
  std::error_code error = co_await write_zeroes(at, writer.begin);
  if (!error) {
    io_group writing{state_};
    writing.write(cache_device::fast, at + writer.begin, state_.data_of(writer), error);
    co_await writing;
  }
  if (!error) {
    error = co_await write_zeroes(at + writer.end, state_.block_size - writer.end);
  }
  co_return error;
}

flow<std::error_code> migrator::write_zeroes(bytes at, std::uint32_t length) {
  std::error_code error;
  io_group writing{state_};
  if (length != 0) {
    writing.write_zeroes(cache_device::fast, at, bytes{length}, error);
  }
  co_await writing;
  co_return error;
}

flow<std::error_code> migrator::write_to_origin(const piece &writer) {
  std::error_code error;
  const bytes at = state_.origin_offset(writer.block) + writer.begin;
  io_group writing{state_};
  writing.write(cache_device::origin, at, state_.data_of(writer), error);
  co_await writing;
  co_return error;
}

// Demotion. Reads go to the origin while the removal is on its way: it holds the same, durably, since
// the block is clean.
flow<> migrator::do_demote(background_work job) {
  ++nr_demoting_;
  const cache_block from = job.block;
  const origin_block block = state_.mappings->origin_of(from);
  const bool is_gone = co_await remove(from, block, exclusion::writes, spared::dirty_ones);
  state_.policy->completed(job, is_gone);
  co_await release(block);
  --nr_demoting_;
  work();
}

// The block's mapping can be changed, and that be committed. Not if the metadata device is full;
// but room that others take meanwhile comes back with the next commit.
flow<bool> migrator::make_room(cache_block block) {
  while (may_change_metadata() && !state_.metadata->has_room_for(block)) {
    if (state_.metadata->is_full()) {
      failed();
      co_return false;
    }
    co_await commits_.commit();
  }
  co_return may_change_metadata();
}

// The same, for removing the mapping. A mapping is stored first: while it is on its way to the disk,
// nobody could tell whether it is there if the removal fails.
flow<bool> migrator::make_removable(cache_block block) {
  while (may_change_metadata() && state_.mappings->is_mapped(block) &&
         !state_.mappings->is_stored(block) && !state_.mappings->is_suspect(block)) {
    co_await commits_.commit();
  }
  co_return co_await make_room(block);
}

// Removes the mapping when nothing is in flight in the block, which the caller releases; of a dirty
// block only if none are spared. Writes, or all that `meanwhile` says, wait until it is gone from the
// metadata for good: until then, a power cut, or the death of the process, would bring it back, and
// hide what was written. Only then the cache block is free as well. If that fails, the metadata can't
// be changed any more, and what they map is mapped again.
flow<bool> migrator::remove(cache_block block, origin_block from, exclusion meanwhile,
                            spared blocks) {
  co_await state_.locks.exclude(from, exclusion::all);
  const bool is_removable = co_await make_removable(block);
  if (!is_removable || !state_.mappings->is_mapped(block) ||
      state_.mappings->origin_of(block) != from ||
      (blocks == spared::dirty_ones && state_.mappings->is_dirty(block))) {
    co_return false;
  }
  const bool was_stored = state_.mappings->is_stored(block);
  const bool was_dirty = state_.mappings->is_dirty(block);
  if (state_.mappings->is_settling(block)) {
    commits_.unsettle(block);
  }
  state_.mappings->unmap(block);
  commits_.unmapped(block);
  state_.locks.weaken(from, meanwhile);
  const committer::outcome outcome = co_await commits_.commit();
  if (!outcome.metadata && was_stored) {
    state_.mappings->map(block, from);
    state_.mappings->mark_stored(block);
    if (was_dirty) {
      state_.mappings->mark_dirty(block);
    }
    co_return false;
  }
  ++counts_.demotions;
  co_return true;
}

// Writeback. Writes are kept out of the block while it is copied. Then it settles: it is clean when
// the origin has been flushed, unless it is written to before.
flow<> migrator::do_write_back(background_work job) {
  {
    const budget_share share{*this};
    const cache_block from = job.block;
    const origin_block block = state_.mappings->origin_of(from);
    co_await state_.locks.exclude(block, exclusion::writes);
    bool is_copied = false;
    if (may_write_back() && state_.mappings->is_mapped(from) && state_.mappings->is_dirty(from)) {
      // One that settles already was found to be the same on the origin.
      is_copied = state_.mappings->is_settling(from) || co_await copy_to_origin(from, block);
      if (!is_copied) {
        ++counts_.failed_writebacks;
        failed();
      }
    }
    if (is_copied) {
      commits_.settle(from, committer::settled_for::policy);
    } else {
      state_.policy->completed(job, false);
    }
    co_await release(block);
  }
  work();
}

// A flush that fails meanwhile may have lost the chunks that were written before, and the next one
// says nothing of them.
flow<bool> migrator::copy_to_origin(cache_block from, origin_block to) {
  const flush_record::mark before = state_.flushes.now();
  const std::uint32_t chunk = chunk_of(state_);
  aligned_buffer buffer{chunk};
  for (std::uint32_t at = 0; at < state_.block_size; at += chunk) {
    const auto data = buffer.span().first(std::min(chunk, state_.block_size - at));
    const bytes source = state_.fast_offset(from) + at;
    const bytes target = state_.origin_offset(to) + at;
    std::error_code error;
    {
      io_group reading{state_, true};
      reading.read(cache_device::fast, source, data, error);
      co_await reading;
    }
    if (error) {
      writeback_failure_ = description_of(engine_io::operation::read, cache_device::fast, source,
                                          bytes{data.size()}, error);
      co_return false;
    }
    {
      io_group writing{state_, true};
      writing.write(cache_device::origin, target, data, error);
      co_await writing;
    }
    if (error) {
      writeback_failure_ = description_of(engine_io::operation::write, cache_device::origin, target,
                                          bytes{data.size()}, error);
      co_return false;
    }
  }
  if (state_.flushes.has_failed_since(before)) {
    writeback_failure_ = "a flush failed while the block was copied to the origin";
    co_return false;
  }
  co_return true;
}

} // namespace dmcache
