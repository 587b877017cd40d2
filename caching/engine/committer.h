// Makes things durable: flushes, and commits of the metadata, shared by all who want one.
//
// The order in which a commit happens, and why:
// 1. The metadata's changes so far are frozen. From here on they are what this commit claims.
// 2. The fast device is flushed if mappings are claimed, since their blocks were written to it
//    before; both devices are if blocks that were written back are to become clean, or their dirty
//    bits to be cleared, or if requests wait for that. Metadata blocks are written meanwhile, where
//    nothing refers to them yet.
// 3. Then the metadata device is flushed, the superblock written, and flushed once more: the claim
//    stands only when all that it rests on is durable.
// 4. Only now are cache blocks that lost their mapping used again, and requests to flush completed.
// A commit that fails leaves the last one in force: the metadata are given up until the next start,
// and marked NEEDS_CHECK. What is mapped goes on being served.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "caching/engine/cache_state.h"
#include "caching/engine/dirty_notes.h"
#include "caching/engine/io_group.h"

namespace dmcache {

class committer {
 public:
  // A change of the metadata is committed this much later at the latest.
  static constexpr instant max_delay = std::chrono::seconds{1};
  // So many blocks that were written back make it worth while to flush the origin.
  static constexpr std::size_t max_settling = 64;

  struct outcome {
    std::error_code fast;
    bool is_fast_needed = false; // it could not be flushed, and something was dirty
    std::error_code origin;
    bool metadata = true;       // what they claim is durable
    bool is_as_before = false;  // they had been given up already: there is nothing to claim
    bool has_held_back = false; // blocks that can't be relied on, and have to leave

    bool is_good() const { return !fast && !origin && metadata; }
    // Clients may have lost something.
    bool is_loss() const { return is_fast_needed || origin; }
  };

  // `ended` is told of the outcome of each commit. `state` outlives this.
  committer(cache_state &state, std::function<void(const outcome &)> ended);

  // Starts working. Nothing else may be called before.
  void start() { flows_.start(run()); }

  // The request, which is done but for that, is completed when all that was acknowledged so far is
  // durable.
  void make_durable(request &asked);

  // The same if the request, which changed data, has to be durable; else it is completed now.
  void acknowledge(request &asked);

  // The write, in flight, goes on when the block that it goes to is noted, or needn't be any more.
  void wait_for_note(piece &writer);
  // One of those goes on to the fast device, and is done there.
  void writes_noted() { notes_.let_go_one(); }
  void wrote_noted();
  // A commit for those who wait begins when the engine is asked for I/O, and has none: until then
  // others can join them.
  bool has_to_begin() const { return is_begin_wanted_; }
  void begin() {
    is_begin_wanted_ = false;
    wake_.happen();
  }
  // The block, mapped and not committed yet, counts as dirty on disk until it is clean for good.
  void note(cache_block block);
  // All clean blocks are forgotten, on disk as well, or in memory only.
  flow<> forget_notes();
  void forget_notes_in_memory() { notes_.forget_all(); }

  // The block was mapped, or unmapped. To be committed soon.
  void mapped(cache_block block);
  void unmapped(cache_block block);
  // The block is being written to, or has been, on both devices.
  void mirrored(cache_block block);
  // Clean blocks, mapped on disk, of which the fast device may have lost what was written to them.
  std::vector<cache_block> take_lost() { return std::exchange(lost_, {}); }
  // It couldn't leave the cache yet.
  void still_lost(cache_block block) { lost_.push_back(block); }
  bool has_lost() const { return !lost_.empty(); }
  // Is a commit under way, or waited for by anybody?
  bool is_busy() const {
    return is_committing_ || !waiting_requests_.empty() || !waiting_flows_.empty();
  }
  // Nothing is being withdrawn any more.
  void withdrawal_ended() { wake_.happen(); }

  // Why a block settles: the policy had it written back, and is told of the end; or it was found to
  // be the same on the origin.
  enum class settled_for : std::uint8_t { policy, comparison };
  // The block, dirty, is the same on the origin. It becomes clean with the next commit. It may
  // settle already for a comparison; then the policy is told of the end as well, if this is for it.
  void settle(cache_block block, settled_for reason);
  // It doesn't: it was written to again.
  void unsettle(cache_block block);
  // The blocks that settle are needed clean, and soon.
  void hurry_settling();

  // Waited for, a commit of all that was changed before this; with `is_flush`, both data devices are
  // flushed as well.
  auto commit(bool is_flush = false) {
    struct awaiter {
      committer &in;
      bool is_flush;
      outcome result;
      std::coroutine_handle<> flow;
      bool await_ready() const noexcept { return false; }
      void await_suspend(std::coroutine_handle<> waiting) {
        flow = waiting;
        in.is_flush_wanted_ = in.is_flush_wanted_ || is_flush;
        in.waiting_flows_.push_back({&result, waiting});
        in.wake_.happen();
      }
      outcome await_resume() const noexcept { return result; }
    };
    return awaiter{*this, is_flush, {}, {}};
  }

  // The metadata can't be relied on any more: the next commit fails.
  void give_up() { is_given_up_ = true; }

  void tick();
  // When something has to be committed, if anything has; not while a commit is under way, after
  // which it is looked at anyway.
  std::optional<instant> due() const {
    if (is_committing_ || !(due_ || settling_due_)) {
      return {};
    }
    return std::min(due_.value_or(instant::max()), settling_due_.value_or(instant::max()));
  }

  struct counts {
    std::uint64_t commits = 0;
    std::uint64_t settled = 0;   // blocks that were written back, and are clean
    std::uint64_t unsettled = 0; // that were written back in vain: the origin couldn't be flushed
  };
  const counts &so_far() const { return counts_; }
  // Why the last of these could not settle, in words.
  const std::string &settling_failure() const { return settling_failure_; }

 private:
  struct waiting_flow {
    outcome *result;
    std::coroutine_handle<> flow;
  };
  struct settling_block {
    cache_block block;
    settled_for reason;
  };

  flow<> run();
  struct needs { // what is to be flushed anyway
    bool fast = false;
    bool origin = false;
  };

  needs take_needs();
  bool is_fast_enough_for(const request &waiting) const;
  intrusive_queue<request> take_those_of_fast(intrusive_queue<request> &from) const;
  flow<outcome> commit_once(needs wanted);
  std::optional<online_metadata::commit> freeze(outcome &result);
  flow<> flush_data(std::optional<online_metadata::commit> &made, needs wanted, outcome &result);
  flow<> complete_those_of_fast(const bool &is_rest_over, std::error_code &error);
  flow<> wait_for(io_group &rest, bool &is_rest_over);
  void stop_exact(const std::optional<online_metadata::commit> &made);
  void thaw();
  void take_mirrored();
  static void write_blocks(const online_metadata::commit &made, io_group &in,
                           std::error_code &error);
  bool hold_back_what_was_lost();
  flow<> give_up_metadata();
  flow<bool> write_superblock(std::span<std::byte> data);
  void complete(intrusive_queue<request> &waited, const outcome &result);
  bool can_complete_requests() const {
    return !waiting_requests_.empty() && !state_.is_withdrawing;
  }
  bool is_wanted() const;
  bool is_settling_due() const {
    return is_settling_wanted_ || (settling_due_ && *settling_due_ <= state_.now);
  }
  void want_by(instant when);
  void begin_flush(cache_device on, io_group &in, std::error_code &error);
  void settle_all(outcome &result);
  void tell_policy(const settling_block &settled, bool is_clean);

  cache_state &state_;
  std::function<void(const outcome &)> ended_;
  flow_event wake_;
  dirty_notes notes_;
  std::optional<instant> due_; // nothing waits for it, but it has to be done by then
  std::optional<instant> settling_due_;
  intrusive_queue<request> waiting_requests_;
  intrusive_queue<request> being_made_durable_; // by the commit that is under way
  std::vector<waiting_flow> waiting_flows_;
  bool is_flush_wanted_ = false; // by one of these
  std::vector<settling_block> settling_;
  std::vector<settling_block> being_settled_; // by the flush that is under way
  bool is_settling_wanted_ = false;
  std::vector<cache_block> mapped_;        // and not stored yet
  std::vector<cache_block> being_stored_;  // by the commit that is under way
  std::vector<cache_block> mirrored_;      // and not flushed yet
  std::vector<cache_block> being_flushed_; // by the flush that is under way
  std::vector<cache_block> lost_;          // by one that failed
  counts counts_;
  std::string settling_failure_;
  bool is_begin_wanted_ = false;
  bool is_given_up_ = false;
  bool is_committing_ = false;
  flow_set flows_;
};

} // namespace dmcache
