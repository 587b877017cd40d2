// Who may touch which origin block: the rules by which requests and migrations share one.
//
// 1. Any number of requests are in flight in a block at a time. Of two that overlap, unless both
//    are reads, the later one waits for the earlier one: on any range they happen in the order in
//    which they came, on one device or on two.
// 2. A migration excludes writes, or all requests, from a block. It gets the block when the
//    requests in flight that it excludes have left it, and those that come later wait. Migrations
//    of one block take turns.
// 3. What waits in one block never holds up another block.
#pragma once

#include <coroutine>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "base/keyed_hash.h"
#include "caching/engine/flow.h"
#include "caching/engine/intrusive_queue.h"
#include "caching/engine/request.h"

namespace dmcache {

enum class exclusion : std::uint8_t { nothing, writes, all };

using piece_queue = intrusive_queue<piece, &piece::next_queued>;

// A promotion that reads [begin, end) of its block, in bytes, and will serve what waits for that.
struct block_fill {
  std::uint32_t begin = 0;
  std::uint32_t end = 0;
  piece_queue readers; // in flight in the block
};

// A block in which something is in flight or waits.
struct block_cell {
  origin_block block;
  piece *in_flight = nullptr; // a list, by next and previous
  piece *waiting_first = nullptr;
  piece *waiting_last = nullptr;
  exclusion held = exclusion::nothing;
  struct waiting_flow {
    exclusion kind;
    std::coroutine_handle<> flow;
  };
  std::deque<waiting_flow> flows;
  block_fill *fill = nullptr; // of the flow that holds the block
  block_cell *next = nullptr; // in its chain
};

class block_locks {
 public:
  explicit block_locks(ready_flows &ready);

  // True: the piece is in flight from now on. False: it waits, and next_admitted() will give it.
  bool enter(piece &part);
  // It isn't in flight any more.
  void leave(piece &part);
  // A piece in flight has to wait once more, before those that wait already.
  void put_back(piece &part);
  // A piece that waited and is in flight now, if there is one.
  piece *next_admitted() { return admitted_.pop(); }
  bool has_admitted() const { return !admitted_.empty(); }

  class exclusion_awaiter;
  // Waited for, gives the flow this exclusion in the block, until release(). No request that it
  // excludes enters from the call on.
  exclusion_awaiter exclude(origin_block block, exclusion kind);
  void release(origin_block block);
  // The one who holds the block excludes only this from now on.
  void weaken(origin_block block, exclusion kind);

  // The one who holds the block serves readers from `fill`, until it is told otherwise (null).
  void set_fill(origin_block block, block_fill *fill) { find(block)->fill = fill; }

  bool has_migration(origin_block block) const;
  bool has_piece_in_flight(origin_block block) const;

 private:
  block_cell *find(origin_block block) const;
  block_cell &find_or_add(origin_block block);
  void link_into_chain(block_cell &cell);
  void add_cell();
  void go_on(block_cell &cell);
  void give_turns(block_cell &cell);
  std::size_t chain_of(origin_block block) const;

  ready_flows &ready_;
  keyed_hash hash_; // or else a client could ask for blocks of one chain
  std::vector<block_cell *> chains_;
  std::vector<std::unique_ptr<block_cell>> cells_;
  block_cell *free_cells_ = nullptr;
  piece_queue admitted_;
};

class block_locks::exclusion_awaiter {
 public:
  bool await_ready() const noexcept { return is_held_; }
  void await_suspend(std::coroutine_handle<> waiting);
  void await_resume() const noexcept {}

 private:
  friend class block_locks;
  exclusion_awaiter(block_cell &cell, exclusion kind, bool is_held)
      : cell_{cell}, kind_{kind}, is_held_{is_held} {}

  block_cell &cell_;
  exclusion kind_;
  bool is_held_;
};

} // namespace dmcache
