// Moves blocks between the origin and the fast device, in the background: promotion, demotion,
// writeback. Each is a flow; its steps, and what holds between them, stand in
// migrator.cc and leaving_blocks.cc.
//
// All copying shares one budget, migration_threshold, which always lets one block through.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "caching/engine/cache_state.h"
#include "caching/engine/committer.h"

namespace dmcache {

class migrator {
 public:
  // Both outlive this.
  migrator(cache_state &state, committer &commits);

  // Can the metadata be written?
  bool may_change_metadata() const { return state_.may_change_metadata(); }
  // Can dirty blocks be written back? That needs no metadata.
  bool may_write_back() const {
    return may_change_metadata() || state_.mode_of_metadata == metadata_mode::read_only;
  }
  // May anything migrate at present?
  bool may_migrate() const { return may_change_metadata() && state_.migrations_allowed; }
  // And is there room in the budget for one more block to be copied?
  bool has_room() const;
  // Could a block be promoted? A full metadata device has no room for its mapping, and a fast device
  // to which nothing could be written a moment ago may be full as well.
  bool may_promote() const {
    return may_migrate() && !state_.metadata->is_full() && state_.now >= rest_until_;
  }

  // Reads the block into the reserved cache block, from the chunk on in which `first`, a byte of it,
  // lies. `reader`, a read in flight in the block that can_serve(), is served from what is read;
  // null if the promotion isn't for a read. It comes back by cache_state::returned, with an error
  // if it has to go to the origin after all.
  void promote(origin_block block, cache_block into, std::uint32_t first, piece *reader);
  // Does all that the piece wants lie within what a promotion reads first?
  bool can_serve(const piece &reader) const;
  // Lets a read in flight be served by a promotion under way that reads it anyway. It comes back as
  // above.
  static bool join(piece &reader);
  // Writes the piece, in flight, into the reserved cache block, which it covers, or the rest of
  // which is zero because the block is discarded. Takes it over, and gives it back when it is done:
  // it isn't in flight any more then.
  void overwrite(piece &writer, cache_block into);
  // Drops the mapping of a block, if it is clean. The piece, if any, in flight in the block, waits
  // until it is gone for good. False, and nothing is done, if mappings can't be changed any more.
  bool invalidate(cache_block block, piece *waiting);
  // The same for a block that the piece, in flight, discards as a whole: nobody wants what is dirty
  // of it any more, and the mapping goes all the same.
  bool forget(cache_block block, piece &discard);
  // Waited for, drops the mapping of the block to `from`, if it has that and is clean. False if it
  // stays.
  flow<bool> drop(cache_block block, origin_block from);
  // Waited for, invalidates all blocks of [begin, end) that are mapped. False if some still are, or
  // may be at the next start.
  flow<bool> invalidate_range(cache_block begin, cache_block end);

  // The block, which was written back, was written to since.
  void unsettle(cache_block block) { commits_.unsettle(block); }

  // Starts what the policy wants done and the budget allows.
  void work();
  // After a commit: blocks that settled are clean, or to be written back once more.
  void commit_ended(const committer::outcome &result);
  // What only memory maps, and never will be mapped on disk, goes to the origin if it is dirty, and
  // leaves the cache.
  void withdraw();
  // Every dirty block is written back as if nothing else was to be done.
  void clean(bool is_wanted) {
    is_cleaning_ = is_wanted;
    work();
  }
  // Nothing was in flight, and nothing has arrived, for a while.
  void set_idle(bool is_idle) { is_idle_ = is_idle; }

  bool is_busy() const { return !flows_.empty(); }
  std::uint64_t nr_migrating() const { return flows_.size(); }

  struct counts {
    std::uint64_t promotions = 0;
    std::uint64_t demotions = 0;
    std::uint64_t errors = 0; // promotions, demotions and writebacks that failed
    std::uint64_t failed_writebacks = 0;
  };
  const counts &so_far() const { return counts_; }
  // Of the last writeback that failed, in words.
  const std::string &writeback_failure() const { return writeback_failure_; }

 private:
  // Demotions, or invalidations, that share a commit.
  static constexpr std::uint64_t max_demoting = 1024;

  class budget_share;

  struct leaving_block {
    cache_block block;
    std::optional<background_work> asked; // by the policy, meanwhile
  };

  std::optional<background_work> next_work();

  // Which blocks remove() leaves alone.
  enum class spared : std::uint8_t { dirty_ones, none };

  pieces_first release(origin_block block);
  flow<> do_promote(origin_block block, cache_block into, std::uint32_t first, piece *reader);
  flow<bool> fill(origin_block block, cache_block into, block_fill &readers);
  pieces_first serve(block_fill &readers, std::span<const std::byte> chunk, std::error_code error);
  flow<> do_overwrite(piece &writer, cache_block into);
  flow<std::error_code> write_into(const piece &writer, cache_block into);
  flow<std::error_code> write_zeroes(bytes at, std::uint32_t length);
  flow<std::error_code> write_to_origin(const piece &writer);
  flow<> do_demote(background_work job);
  flow<> do_write_back(background_work job);
  bool let_leave(cache_block block, spared blocks, piece *waiting);
  flow<> do_invalidate(cache_block block, spared blocks);
  flow<bool> leave(cache_block block, spared blocks);
  bool is_to_be_withdrawn(cache_block block) const;
  flow<> do_withdraw();
  flow<bool> withdraw_one(cache_block block);
  flow<std::uint64_t> drop_lost(std::vector<cache_block> lost);
  bool is_leaving(cache_block block) const;
  void left(cache_block block, bool is_gone);
  flow<bool> copy_to_origin(cache_block from, origin_block to);
  flow<bool> make_room(cache_block block);
  flow<bool> make_removable(cache_block block);
  flow<bool> remove(cache_block block, origin_block from, exclusion meanwhile, spared blocks);
  void failed();

  cache_state &state_;
  committer &commits_;
  std::uint64_t in_flight_ = 0; // bytes of blocks being copied
  std::uint64_t nr_demoting_ = 0;
  counts counts_;
  std::string writeback_failure_;
  bool is_idle_ = false;
  bool is_cleaning_ = false;
  bool is_starting_ = false;           // work() is at work
  bool is_withdrawal_wanted_ = false;  // once more
  instant rest_until_{};               // after an error
  std::vector<leaving_block> leaving_; // being invalidated
  flow_event changed_;                 // something has left
  flow_set flows_;
};

} // namespace dmcache
