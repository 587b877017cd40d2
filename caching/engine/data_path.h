// The way of requests: cut at block boundaries, each piece goes to the fast device, to the origin,
// to both, or into a migration.
//
// The way of a hit is short: a lock without waiting, a lookup, a touch of the policy, one I/O.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "caching/engine/cache_state.h"
#include "caching/engine/committer.h"
#include "caching/engine/migrator.h"

namespace dmcache {

class data_path final : public migrator::requests {
 public:
  // Pieces of requests that are more than one, in flight at most; what needs more waits.
  static constexpr std::size_t max_spare_pieces = 1024;

  // `complete` is told of requests of which all but durability is done; all outlive this.
  data_path(cache_state &state, migrator &migrations, std::function<void(request &)> complete);

  // A valid read, write, discard, zeroing or prefetch. It goes on its way when those before it
  // have.
  void submit(request &which);

  bool is_idle() const { return nr_requests_ == 0; }

  void finish(piece &which, std::error_code outcome) override;
  void send_to_origin(piece &which) override;
  void give_turns() override;

 private:
  // A discard under way, and what was written to since it began, in discard blocks.
  struct discarding {
    const request *by;
    std::vector<std::uint64_t> written;
  };

  void begin(request &which);
  void complete(request &which);
  void end_discard(const request &which);
  bool split(request &which);
  piece *take_piece(request &of);
  void route(piece &which);
  static void count(piece &which, std::uint32_t &reads, std::uint32_t &writes);
  void hit(piece &which, cache_block block);
  void miss(piece &which, bool was_discarded);
  void write_hit(piece &which, cache_block block);
  void mark_dirty(cache_block block);
  void discard_hit(piece &which, cache_block block);
  promotion possible_promotion(const piece &which, bool was_discarded) const;
  void send_to_fast(piece &which, cache_block block);
  void send_to_both(piece &which, cache_block block);
  void issue(piece &which, engine_io &io, cache_device on, bytes offset);
  bool append_to_last(piece &which, const engine_io &io);
  void end(piece &which, std::error_code outcome);
  void ended_on_fast(piece &which, std::error_code error);
  void ended_on_both(piece &which);
  bool is_any_discarded() const { return !state_.discards->empty() || !discarding_.empty(); }
  bool clear_discard(const piece &which);
  static void io_done(void *context, engine_io &io, std::error_code error);
  static void mirrored_io_done(void *context, engine_io &io, std::error_code error);

  cache_state &state_;
  migrator &migrations_;
  std::function<void(request &)> complete_;
  std::uint64_t nr_requests_ = 0;
  std::vector<discarding> discarding_;
  intrusive_queue<request> unsplit_; // in order; the first one is being split
  bool is_splitting_ = false;
  bool is_giving_turns_ = false;
  std::vector<std::unique_ptr<piece>> spare_pieces_;
  piece_queue free_pieces_;
  bool is_in_split_ = false;
  piece *last_sent_ = nullptr;  // in the split that is under way: its I/O can still grow
  piece *last_rider_ = nullptr; // of those that share that I/O
};

} // namespace dmcache
