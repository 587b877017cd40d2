// The way of requests: cut at block boundaries, each piece goes to the fast device, to the origin,
// to both, or into a migration.
//
// The way of a hit is short: a lock without waiting, a lookup, a touch of the policy, one I/O.
#pragma once

#include <vector>

#include "caching/engine/cache_state.h"
#include "caching/engine/committer.h"
#include "caching/engine/migrator.h"

namespace dmcache {

class data_path {
 public:
  // Pieces of one request that are under way at a time, at most.
  static constexpr std::uint64_t max_pieces = 128;

  // All outlive this.
  data_path(cache_state &state, migrator &migrations, committer &commits)
      : state_{state}, migrations_{migrations}, commits_{commits} {}

  // A valid read, write, discard, zeroing or prefetch. If there is no memory for its pieces, it
  // fails before anything of it has happened.
  void submit(request &asked);

  // Carries on with the pieces that have come back, and with those whose turn has come.
  void carry_on();
  bool has_to_carry_on() const {
    return !state_.returned.empty() || state_.locks.has_admitted() || has_to_split_;
  }

  bool is_idle() const { return nr_requests_ == 0; }
  // Reads of clean blocks that the origin answered because the fast device couldn't.
  std::uint64_t nr_fast_errors_served() const { return nr_fast_errors_served_; }

 private:
  // A discard under way, and what was written to since it began, in discard blocks.
  struct discarding {
    const request *by;
    std::vector<std::uint64_t> written;
  };

  // request_pieces.cc
  static bool take_pieces(request &asked, std::uint64_t nr_blocks);
  static bool has_enough_pieces(const request &asked);
  bool is_held_up(const request &later) const;
  bool split(request &asked);
  void split_waiting();
  void set_out(piece &part, request &of, origin_block block, std::uint64_t begin,
               std::uint64_t end);
  void end(piece &part);
  void complete(request &asked);
  void begin_discard(const request &asked);
  void end_discard(const request &asked);

  // data_path.cc
  void let_go(piece &admitted);
  void route(piece &part);
  void count(piece &part, std::uint32_t &reads, std::uint32_t &writes);
  void advise(const piece &part);
  void hit(piece &part, cache_block block);
  void miss(piece &part, bool was_discarded);
  void promote(piece &part, cache_block into, promotion how);
  void write_hit(piece &part, cache_block block);
  bool has_to_be_noted(cache_block block) const;
  void write_noted(piece &part);
  bool is_becoming_clean(cache_block block) const;
  void mark_dirty(cache_block block);
  void discard_hit(piece &part, cache_block block);
  promotion possible_promotion(const piece &part, bool was_discarded) const;
  void send_to_fast(piece &part, cache_block block);
  void send_to_origin(piece &part);
  void send_to_both(piece &part, cache_block block);
  void issue(piece &part, engine_io &io, cache_device on, bytes offset);
  bool append_to_last(piece &part, const engine_io &io);
  void take_back(piece &part);
  void failed_on_fast(piece &part, std::error_code error);
  void ended_on_both(piece &part, std::error_code origin_error);
  void end(piece &part, std::error_code failure);
  bool is_any_discarded() const { return !state_.discards->empty() || !discarding_.empty(); }
  bool clear_discard(const piece &part);
  static void io_done(void *context, engine_io &io, std::error_code error);
  static void missed_io_done(void *context, engine_io &io, std::error_code error);
  static void noted_io_done(void *context, engine_io &io, std::error_code error);
  static void mirrored_io_done(void *context, engine_io &io, std::error_code error);

  cache_state &state_;
  migrator &migrations_;
  committer &commits_;
  std::uint64_t nr_requests_ = 0;
  std::uint64_t nr_fast_errors_served_ = 0;
  std::vector<discarding> discarding_;
  // Those that have a rest which isn't split yet, in the order in which they came. Each waits for
  // its own pieces, or for the rest of one before it.
  intrusive_queue<request> unsplit_;
  bool has_to_split_ = false; // one of them has pieces again
  bool is_in_split_ = false;
  piece *last_sent_ = nullptr;  // in the split that is under way: its I/O can still grow
  piece *last_rider_ = nullptr; // of those that share that I/O
};

} // namespace dmcache
