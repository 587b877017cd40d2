// Moves blocks between the origin and the fast device, in the background: promotion, demotion,
// writeback. Each is a flow; its steps, and what holds between them, stand in migrator.cc.
//
// All copying shares one budget, migration_threshold, which always lets one block through.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "base/aligned_buffer.h"
#include "caching/engine/cache_state.h"
#include "caching/engine/committer.h"

namespace dmcache {

class migrator {
 public:
  // What the migrator asks of the way of requests; outlives it.
  class requests {
   public:
    requests() = default;
    requests(const requests &) = delete;
    requests &operator=(const requests &) = delete;
    virtual ~requests() = default;

    // A piece that was handed over is done; it isn't in flight any more.
    virtual void finish(piece &which, std::error_code outcome) = 0;
    // A piece in flight that was handed over goes to the origin after all.
    virtual void send_to_origin(piece &which) = 0;
    // Others may have become admissible.
    virtual void give_turns() = 0;
  };

  migrator(cache_state &state, committer &commits, requests &to);

  // Can the metadata be written?
  bool may_change_metadata() const;
  // May anything migrate at present?
  bool may_migrate() const { return may_change_metadata() && state_.migrations_allowed; }
  // And is there room in the budget for one more block to be copied?
  bool has_room() const;
  // Could a block be promoted? A full metadata device has no room for its mapping.
  bool may_promote() const { return may_migrate() && !state_.metadata->is_full(); }

  // Reads the block into the reserved cache block. `reader`, a read in flight in the block, is
  // served from what is read; null if the promotion isn't for a read.
  void promote(origin_block block, cache_block into, piece *reader);
  // Lets a read in flight be served by a promotion under way that reads it anyway.
  static bool join(piece &reader);
  // Writes the piece, in flight, into the reserved cache block, which it covers, or the rest of
  // which is zero because the block is discarded. Takes it over.
  void overwrite(piece &writer, cache_block into);
  // Drops the mapping of a block, if it is clean. The piece, if any, in flight in the block, waits
  // until it is gone for good. False, and nothing is done, if mappings can't be changed any more.
  bool invalidate(cache_block block, piece *waiting);
  // The same for all blocks of [begin, end) that are mapped. False if some still are, or may be at
  // the next start.
  flow<bool> invalidate_range(cache_block begin, cache_block end);

  // The block, which was written back, was written to since.
  void unsettle(cache_block block) { commits_.unsettle(block); }

  // Starts what the policy wants done and the budget allows.
  void work();
  // Blocks that settled are clean; or, if not all of it worked, to be written back once more.
  void commit_ended(bool is_good);
  // Every dirty block is written back as if nothing else was to be done.
  void clean(bool is_wanted) {
    is_cleaning_ = is_wanted;
    work();
  }
  // Nothing was in flight, and nothing has arrived, for a while.
  void set_idle(bool is_idle) { is_idle_ = is_idle; }

  bool is_busy() const { return !flows_.empty(); }
  std::uint64_t nr_migrating() const { return flows_.size(); }

 private:
  class budget_share;

  struct leaving_block {
    cache_block block;
    std::optional<background_work> asked; // by the policy, meanwhile
  };

  flow<> do_promote(origin_block block, cache_block into, piece *reader);
  flow<bool> fill(origin_block block, cache_block into, block_fill &readers);
  void serve(block_fill &readers, std::span<const std::byte> chunk, std::error_code error);
  flow<> do_overwrite(piece &writer, cache_block into);
  flow<std::error_code> write_into(const piece &writer, cache_block into);
  flow<std::error_code> write_to_origin(const piece &writer);
  flow<> do_demote(background_work work_item);
  flow<> do_write_back(background_work work_item);
  flow<> do_invalidate(cache_block block);
  flow<bool> copy_to_origin(cache_block from, origin_block to);
  flow<bool> make_room(cache_block block);
  bool unmap(cache_block block, origin_block from);
  void failed();

  cache_state &state_;
  committer &commits_;
  requests &requests_;
  std::uint64_t in_flight_ = 0; // bytes of blocks being copied
  std::uint64_t nr_demoting_ = 0;
  bool is_idle_ = false;
  bool is_cleaning_ = false;
  bool is_starting_ = false;           // work() is at work
  instant rest_until_{};               // after an error
  std::vector<leaving_block> leaving_; // being invalidated
  flow_event changed_;                 // something has left
  flow_set flows_;
};

} // namespace dmcache
