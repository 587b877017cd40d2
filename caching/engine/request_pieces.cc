// How requests become pieces, and end with them.
//
// A large request is split in slices: some of its pieces are under way, and the next ones follow
// when half of these have come back. So what it takes, of memory and of the time of others, is
// bounded, and requests that don't overlap it pass.
#include <algorithm>
#include <new>

#include "caching/engine/data_path.h"

namespace dmcache {
namespace {

using operation = request::operation;

std::uint64_t end_of(const request &asked) {
  return asked.offset.value() + asked.length.value();
}

bool has_rest(const request &asked) {
  return asked.split_to.value() < end_of(asked);
}

// What is not split yet of both: must the later one wait?
bool is_in_conflict(const request &one, const request &other) {
  return (one.is_write() || other.is_write()) && one.split_to.value() < end_of(other) &&
         other.split_to.value() < end_of(one);
}

} // namespace

void data_path::submit(request &asked) {
  if (asked.outcome) [[unlikely]] { // of the last time
    asked.outcome.clear();
  }
  asked.flush_mark = state_.flushes.now();
  asked.split_to = asked.offset;
  const std::uint64_t end = end_of(asked);
  const std::uint64_t block = asked.offset.value() / state_.block_size;
  const std::uint64_t start = block * state_.block_size;
  const bool has_to_wait = !unsplit_.empty() && is_held_up(asked);
  if (end <= start + state_.block_size && asked.op != operation::discard && !has_to_wait)
      [[likely]] {
    ++nr_requests_;
    asked.nr_open = 1;
    asked.split_to = bytes{end};
    set_out(asked.first, asked, origin_block{block}, asked.offset.value() - start, end - start);
    return;
  }
  if (!take_pieces(asked, (end - 1) / state_.block_size - block + 1)) {
    asked.outcome = std::make_error_code(std::errc::not_enough_memory);
    state_.completed.push(asked);
    return;
  }
  ++nr_requests_;
  asked.nr_open = 1;
  if (has_to_wait || !split(asked)) {
    unsplit_.push(asked);
  }
}

// For a request of so many blocks. False: there is no memory.
bool data_path::take_pieces(request &asked, std::uint64_t nr_blocks) {
  asked.spare = {};
  asked.spare.push(asked.first);
  const std::uint64_t nr_more = std::min(nr_blocks, max_pieces) - 1;
  if (nr_more == 0) {
    return true;
  }
  asked.more.reset(new (std::nothrow) piece[nr_more]);
  for (std::uint64_t i = 0; asked.more && i < nr_more; ++i) {
    asked.spare.push(asked.more[i]);
  }
  return asked.more != nullptr;
}

// Of two requests that overlap, the later one waits until the rest of the earlier one is split, or
// as much of it as both want; from then on block_locks keeps their pieces in order.
bool data_path::is_held_up(const request &later) const {
  for (const request *each = unsplit_.front(); each != nullptr; each = each->next) {
    if (is_in_conflict(*each, later)) {
      return true;
    }
  }
  return false;
}

// The piece goes on its way, or waits for its turn in the block.
void data_path::set_out(piece &part, request &of, origin_block block, std::uint64_t begin,
                        std::uint64_t end) {
  part.of = &of;
  part.block = block;
  part.begin = static_cast<std::uint32_t>(begin);
  part.end = static_cast<std::uint32_t>(end);
  part.is_counted = false;
  if (state_.locks.enter(part)) [[likely]] {
    route(part);
  }
}

// As far as there are pieces. False: to be called again when there are more of them.
bool data_path::split(request &asked) {
  const std::uint64_t end = end_of(asked);
  if (asked.op == operation::discard && asked.split_to == asked.offset) {
    begin_discard(asked);
  }
  is_in_split_ = true;
  while (asked.split_to.value() < end) {
    piece *part = asked.spare.pop();
    if (part == nullptr) {
      break;
    }
    const std::uint64_t at = asked.split_to.value();
    const std::uint64_t block = at / state_.block_size;
    const std::uint64_t start = block * state_.block_size;
    const std::uint64_t stop = std::min<std::uint64_t>(state_.block_size, end - start);
    asked.split_to = bytes{start + stop};
    ++asked.nr_open;
    set_out(*part, asked, origin_block{block}, at - start, stop);
  }
  is_in_split_ = false;
  last_sent_ = nullptr;
  if (has_rest(asked)) {
    return false;
  }
  if (--asked.nr_open == 0) {
    complete(asked);
  }
  return true;
}

// In the order in which they came, so that each waits for those before it alone.
void data_path::split_waiting() {
  has_to_split_ = false;
  auto waiting = unsplit_.take_all();
  while (request *next = waiting.pop()) {
    const bool has_turn = has_enough_pieces(*next) && !is_held_up(*next);
    if (!has_turn || !split(*next)) {
      unsplit_.push(*next);
    }
  }
}

// For the next slice: the fewer pieces lie side by side, the smaller are the I/Os that they share.
bool data_path::has_enough_pieces(const request &asked) {
  return asked.nr_open - 1 <= max_pieces / 2; // under way
}

// A piece that a migration has carried out isn't in flight any more.
void data_path::end(piece &part) {
  if (part.cell != nullptr) [[likely]] {
    state_.locks.leave(part);
  }
  request &of = *part.of;
  if (of.more) {
    of.spare.push(part);
  }
  if (--of.nr_open == 0) {
    complete(of);
  } else if (!unsplit_.empty() && has_rest(of) && has_enough_pieces(of)) [[unlikely]] {
    has_to_split_ = true;
  }
}

// All but durability is done.
void data_path::complete(request &asked) {
  --nr_requests_;
  if (asked.fua) [[unlikely]] {
    asked.is_on_fast_alone = !asked.more && asked.first.sent_to == piece::place::fast;
  }
  if (asked.more) {
    asked.more.reset();
  }
  if (asked.op == operation::discard) {
    end_discard(asked);
  }
  if (asked.is_write() && !asked.outcome) {
    commits_.acknowledge(asked);
  } else {
    state_.completed.push(asked);
  }
}

void data_path::begin_discard(const request &asked) {
  discarding_.push_back({&asked, {}});
}

// What was discarded, and not written to meanwhile, counts as such from here on.
void data_path::end_discard(const request &asked) {
  const auto ended = std::ranges::find(discarding_, &asked, &discarding::by);
  if (!asked.outcome) {
    state_.discards->set_within(sectors{asked.offset.value() / sector_size},
                                sectors{end_of(asked) / sector_size});
    for (const std::uint64_t block : ended->written) {
      state_.discards->clear(block);
    }
  }
  discarding_.erase(ended);
}

} // namespace dmcache
