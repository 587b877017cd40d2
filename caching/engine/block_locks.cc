#include "caching/engine/block_locks.h"

#include <algorithm>

#include "base/assert.h"

namespace dmcache {
namespace {

constexpr std::size_t initial_chains = 1024;
// How many of those that wait are looked at before it is given up to find one that may pass.
constexpr unsigned max_looked_at = 64;

bool is_write(const piece &part) {
  return part.of->is_write();
}

bool is_in_conflict(const piece &one, const piece &other) {
  return (is_write(one) || is_write(other)) && one.begin < other.end && other.begin < one.end;
}

bool excludes(exclusion kind, const piece &part) {
  return kind == exclusion::all || (kind == exclusion::writes && is_write(part));
}

bool is_excluded(const block_cell &cell, const piece &part) {
  return excludes(cell.held, part) || std::ranges::any_of(cell.flows, [&](const auto &waiting) {
           return excludes(waiting.kind, part);
         });
}

bool is_idle(const block_cell &cell) {
  return cell.in_flight == nullptr && cell.waiting_first == nullptr &&
         cell.held == exclusion::nothing && cell.flows.empty();
}

// Could it be in flight? `part` does not wait, or has been looked at before those after it.
bool is_admissible(const block_cell &cell, const piece &part) {
  if (is_excluded(cell, part)) {
    return false;
  }
  for (const piece *each = cell.in_flight; each != nullptr; each = each->next) {
    if (is_in_conflict(*each, part)) {
      return false;
    }
  }
  unsigned looked_at = 0;
  for (const piece *each = cell.waiting_first; each != nullptr && each != &part;
       each = each->next) {
    if (is_in_conflict(*each, part) || ++looked_at > max_looked_at) {
      return false;
    }
  }
  return true;
}

bool is_free_for(const block_cell &cell, exclusion kind) {
  for (const piece *each = cell.in_flight; each != nullptr; each = each->next) {
    if (excludes(kind, *each)) {
      return false;
    }
  }
  return true;
}

void link_first(piece *&list, piece &part) {
  part.previous = nullptr;
  part.next = list;
  if (part.next != nullptr) {
    part.next->previous = &part;
  }
  list = &part;
}

void unlink(piece *&list, piece &part) {
  (part.previous != nullptr ? part.previous->next : list) = part.next;
  if (part.next != nullptr) {
    part.next->previous = part.previous;
  }
}

void wait_last(block_cell &cell, piece &part) {
  part.next = nullptr;
  part.previous = cell.waiting_first == nullptr ? nullptr : cell.waiting_last;
  (part.previous == nullptr ? cell.waiting_first : part.previous->next) = &part;
  cell.waiting_last = &part;
}

void wait_first(block_cell &cell, piece &part) {
  const bool is_only = cell.waiting_first == nullptr;
  link_first(cell.waiting_first, part);
  cell.waiting_last = is_only ? &part : cell.waiting_last;
}

void stop_waiting(block_cell &cell, piece &part) {
  if (cell.waiting_last == &part) {
    cell.waiting_last = part.previous;
  }
  unlink(cell.waiting_first, part);
}

} // namespace

block_locks::block_locks(ready_flows &ready) : ready_{ready}, chains_(initial_chains) {}

std::size_t block_locks::chain_of(origin_block block) const {
  return hash_(block.value()) & (chains_.size() - 1);
}

block_cell *block_locks::find(origin_block block) const {
  block_cell *cell = chains_[chain_of(block)];
  while (cell != nullptr && cell->block != block) {
    cell = cell->next;
  }
  return cell;
}

block_cell &block_locks::find_or_add(origin_block block) {
  if (block_cell *found = find(block)) {
    return *found;
  }
  if (free_cells_ == nullptr) { // never again once there are as many as are in use at a time
    add_cell();
  }
  block_cell &cell = *free_cells_;
  free_cells_ = cell.next;
  cell.block = block;
  link_into_chain(cell);
  return cell;
}

void block_locks::link_into_chain(block_cell &cell) {
  block_cell *&chain = chains_[chain_of(cell.block)];
  cell.next = chain;
  chain = &cell;
}

// Requires that all cells are in use. There are as many chains as cells, or more.
void block_locks::add_cell() {
  if (cells_.size() == chains_.size()) {
    chains_.assign(2 * chains_.size(), nullptr);
    for (const auto &each : cells_) {
      link_into_chain(*each);
    }
  }
  cells_.push_back(std::make_unique<block_cell>());
  free_cells_ = cells_.back().get();
}

// Something has left. What waits, if anything does, has its turn.
void block_locks::go_on(block_cell &cell) {
  if (!is_idle(cell)) {
    give_turns(cell);
    return;
  }
  block_cell **at = &chains_[chain_of(cell.block)];
  while (*at != &cell) {
    at = &(*at)->next;
  }
  *at = cell.next;
  cell.next = free_cells_;
  free_cells_ = &cell;
}

bool block_locks::enter(piece &part) {
  block_cell &cell = find_or_add(part.block);
  part.cell = &cell;
  if (is_idle(cell) || is_admissible(cell, part)) {
    link_first(cell.in_flight, part);
    return true;
  }
  wait_last(cell, part);
  return false;
}

void block_locks::leave(piece &part) {
  block_cell &cell = *part.cell;
  unlink(cell.in_flight, part);
  part.cell = nullptr;
  go_on(cell);
}

void block_locks::put_back(piece &part) {
  block_cell &cell = *part.cell;
  unlink(cell.in_flight, part);
  wait_first(cell, part);
  give_turns(cell);
}

void block_locks::give_turns(block_cell &cell) {
  if (cell.held == exclusion::nothing && !cell.flows.empty() &&
      is_free_for(cell, cell.flows.front().kind)) {
    cell.held = cell.flows.front().kind;
    ready_.add(cell.flows.front().flow);
    cell.flows.pop_front();
  }
  unsigned looked_at = 0;
  for (piece *each = cell.waiting_first; each != nullptr && looked_at < max_looked_at;
       ++looked_at) {
    piece *following = each->next;
    if (is_admissible(cell, *each)) {
      stop_waiting(cell, *each);
      link_first(cell.in_flight, *each);
      admitted_.push(*each);
    }
    each = following;
  }
}

block_locks::exclusion_awaiter block_locks::exclude(origin_block block, exclusion kind) {
  block_cell &cell = find_or_add(block);
  const bool is_free =
      cell.held == exclusion::nothing && cell.flows.empty() && is_free_for(cell, kind);
  if (is_free) {
    cell.held = kind;
  }
  return {cell, kind, is_free};
}

void block_locks::exclusion_awaiter::await_suspend(std::coroutine_handle<> waiting) {
  cell_.flows.push_back({kind_, waiting});
}

void block_locks::release(origin_block block) {
  block_cell *cell = find(block);
  require(cell != nullptr && cell->held != exclusion::nothing, "what is released was held");
  cell->held = exclusion::nothing;
  go_on(*cell);
}

void block_locks::weaken(origin_block block, exclusion kind) {
  block_cell *cell = find(block);
  require(cell != nullptr && cell->held != exclusion::nothing, "what is held can be held less");
  cell->held = kind;
  give_turns(*cell);
}

bool block_locks::has_migration(origin_block block) const {
  const block_cell *cell = find(block);
  return cell != nullptr && (cell->held != exclusion::nothing || !cell->flows.empty());
}

bool block_locks::has_piece_in_flight(origin_block block) const {
  const block_cell *cell = find(block);
  return cell != nullptr && cell->in_flight != nullptr;
}

} // namespace dmcache
