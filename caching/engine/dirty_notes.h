// The dirty bits on disk, while the dirty state is tracked exactly: they are at all times at least
// what is dirty (engine.md, 16).
//
// A block is noted when its bit is set on disk. A write to a block that isn't waits for a commit
// that notes it, which all who wait share. The note outlives the writeback, so that a block that is
// written to again and again pays once, and is forgotten when the block has been quiet for a while.
#pragma once

#include <optional>
#include <vector>

#include "caching/engine/cache_state.h"

namespace dmcache {

class dirty_notes {
 public:
  // Bits are cleared on disk so much later at the latest, many of them at a time.
  static constexpr instant forget_delay = std::chrono::seconds{5};

  // `state` outlives this.
  explicit dirty_notes(cache_state &state) : state_{state} {}

  // The block, mapped, is noted by the next commit, for which there is room.
  void want(cache_block block);
  // The same for the block that the piece, a write in flight, goes to. It comes back by
  // cache_state::returned when a commit has ended.
  void wait(piece &writer);
  // Is it time for a commit? Writes that the last one let go are waited for: those who have their
  // answer are likely to ask for more, which can share the next one.
  bool is_commit_due() const { return !waiting_.empty() && nr_let_go_ == 0; }
  void let_go_one() { ++nr_let_go_; }
  void written_one() { --nr_let_go_; }

  // What becomes of a commit: what is to be noted goes with it; it is durable; it has ended, well
  // or not.
  void frozen();
  void committed();
  void ended();
  // The metadata are given up.
  void give_up();

  // Does the commit on its way clear bits? Then it relies on both devices.
  bool is_clearing() const { return is_clearing_; }

  // Forgets blocks that have been quiet for long enough. True: the metadata are to be committed.
  bool tick();
  // Is the block noted, though it is clean?
  bool can_forget(cache_block block) const {
    return state_.mappings->is_noted(block) && !state_.mappings->is_dirty(block);
  }
  // Forgets all clean blocks, in memory.
  void forget_all();
  // Forgets a clean block, on disk with the next commit, for which there is room.
  void forget(cache_block block);

 private:
  bool is_quiet(cache_block block) const;

  cache_state &state_;
  piece_queue waiting_;
  std::uint64_t nr_let_go_ = 0; // and not written yet
  std::vector<cache_block> wanted_;
  std::vector<cache_block> being_noted_; // by the commit on its way
  bool is_forgetting_ = false;           // the next commit clears bits
  bool is_clearing_ = false;
  std::optional<std::uint64_t> nr_looked_at_; // blocks, in turn, and again and again
};

} // namespace dmcache
