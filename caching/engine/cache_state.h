// What the parts of the engine share. Private to the engine: its users see cache_engine.h.
//
// Each field says who alone changes it; everybody may read it.
#pragma once

#include <coroutine>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "caching/engine/block_locks.h"
#include "caching/engine/flow.h"
#include "caching/engine/flush_record.h"
#include "caching/engine/instant.h"
#include "caching/engine/intrusive_queue.h"
#include "caching/engine/options.h"
#include "caching/engine/origin_times.h"
#include "caching/engine/request.h"
#include "caching/engine/status.h"
#include "caching/online-metadata/mapping_table.h"
#include "caching/online-metadata/online_metadata.h"
#include "caching/policy/policy.h"
#include "caching/sizing/size_advisor.h"

namespace dmcache {

// I/O that the engine wants done, in order.
class outbox {
 public:
  void issue(engine_io &io) { queue_.push(io); }
  engine_io *take() { return queue_.pop(); }

 private:
  intrusive_queue<engine_io> queue_;
};

struct cache_state {
  // Set when the cache is opened; the first two change with a reload or a message (cache_engine).
  engine_options options;
  std::unique_ptr<dmcache::policy> policy;
  std::uint32_t block_size = 0; // bytes; cache blocks can be 1 GiB
  bytes origin_size;
  std::uint64_t nr_origin_blocks = 0; // whole ones: a last one that isn't is never cached
  bool origin_can_discard = false;

  // The ways between the parts, which each of them uses.
  ready_flows ready{};
  block_locks locks{ready};
  outbox io{};                        // to the devices
  intrusive_queue<request> completed; // to the clients
  // Pieces that a device or a migration is done with, to the data path.
  piece_queue returned{};

  // What is cached. The data path marks blocks dirty; the migrator maps and unmaps them; the
  // committer marks them clean, and has the changes written.
  std::unique_ptr<online_metadata> metadata;
  std::unique_ptr<mapping_table> mappings;
  metadata_mode mode_of_metadata = metadata_mode::write; // the committer's
  bool is_exact = false; // the dirty bits on disk are exact; the committer's

  std::unique_ptr<discard_set> discards; // the data path's
  cache_statistics statistics{};         // the data path's
  origin_times origin_reads;             // the data path tells it of misses, the migrator of copies
  // The data path tells it of some blocks, cache_engine of all else.
  std::unique_ptr<size_advisor> advisor;

  instant now{};                  // cache_engine's
  bool migrations_allowed = true; // cache_engine's: not while it is being changed or shut down

  // At most so many blocks may be dirty, as the options say; cache_engine's.
  std::uint64_t max_dirty = 0;
  // Controls for which nothing may become dirty any more; cache_engine's.
  unsigned nr_keeping_clean = 0;
  // Blocks that are dirty as soon as they are mapped; the migrator's.
  std::uint64_t nr_becoming_dirty = 0;

  // cache_engine says what was written, the committer what becomes of flushes.
  flush_record flushes;

  // The migrator's. Withdrawals are under way of blocks that only memory maps: nothing is durable
  // until they are over.
  bool is_withdrawing = false;
  std::uint64_t nr_not_withdrawn = 0; // and so many could not be

  cache_mode mode() const { return options.mode; }
  bytes fast_offset(cache_block block) const { return bytes{block.value() * block_size}; }
  bytes origin_offset(origin_block block) const { return bytes{block.value() * block_size}; }
  // What the piece writes, or where it is read to.
  std::span<std::byte> data_of(const piece &part) const {
    const std::uint64_t at =
        origin_offset(part.block).value() + part.begin - part.of->offset.value();
    return part.of->data.subspan(at, part.end - part.begin);
  }
  // May one more block be dirty?
  bool may_become_dirty() const {
    return mode() == cache_mode::writeback && nr_keeping_clean == 0 &&
           mappings->nr_dirty() + nr_becoming_dirty < max_dirty;
  }
  // Is it time to make room for others that become dirty? There is no limit if all may be dirty.
  bool is_near_dirty_limit() const {
    return max_dirty < mappings->nr_cache_blocks() &&
           mappings->nr_dirty() >= max_dirty - max_dirty / 4;
  }
  bool is_cacheable(origin_block block) const { return block.value() < nr_origin_blocks; }
  // The discard block that it lies in; none at the origin's end, if what is left there is none.
  std::optional<std::uint64_t> discard_block_of(origin_block block) const {
    const std::uint64_t number =
        origin_offset(block).value() / to_bytes(discards->block_size()).value();
    return number < discards->nr_blocks() ? std::optional{number} : std::nullopt;
  }
  bool is_discarded(origin_block block) const {
    const auto number = discard_block_of(block);
    return number && discards->test(*number);
  }
  bool may_change_metadata() const { return mode_of_metadata == metadata_mode::write; }
};

// Waited for by a flow that has given pieces back, or released a block for which others wait: it
// goes on when these are on their way. A flow that has only just been started goes on at once: who
// started it lets them go anyway.
struct pieces_first {
  cache_state &in;

  bool await_ready() const noexcept {
    return !in.ready.is_running() || (in.returned.empty() && !in.locks.has_admitted());
  }
  void await_suspend(std::coroutine_handle<> waiting) { in.ready.add_first(waiting); }
  void await_resume() const noexcept {}
};

} // namespace dmcache
