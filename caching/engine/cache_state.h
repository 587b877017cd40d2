// What the parts of the engine share: what is cached, what is known, and the way out for I/O. Each
// part changes only what is said to be its own here.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "caching/engine/block_locks.h"
#include "caching/engine/flow.h"
#include "caching/engine/instant.h"
#include "caching/engine/intrusive_queue.h"
#include "caching/engine/options.h"
#include "caching/engine/request.h"
#include "caching/engine/status.h"
#include "caching/online-metadata/mapping_table.h"
#include "caching/online-metadata/online_metadata.h"
#include "caching/policy/policy.h"

namespace dmcache {

// I/O that the engine wants done, in order.
class outbox {
 public:
  void issue(engine_io &what) { queue_.push(what); }
  engine_io *take() { return queue_.pop(); }

 private:
  intrusive_queue<engine_io> queue_;
};

struct cache_state {
  engine_options options;
  cache_mode mode{};            // changed by a reload
  std::uint32_t block_size = 0; // bytes; cache blocks can be 1 GiB
  bytes origin_size;
  std::uint64_t nr_origin_blocks = 0; // whole ones: a last one that isn't is never cached
  bool origin_can_discard = false;

  ready_flows ready{};
  outbox io{};
  block_locks locks{ready};

  std::unique_ptr<online_metadata> metadata;
  std::unique_ptr<mapping_table> mappings;
  std::unique_ptr<discard_set> discards;
  std::unique_ptr<dmcache::policy> decisions;
  metadata_mode metadata_is = metadata_mode::write; // the committer's
  cache_statistics statistics{};
  cache_counts counts{};
  instant now{};
  bool migrations_allowed = true; // not while the cache is being changed or shut down
  // Since it was last flushed, something was written to the device; or may have been, by whoever
  // had the cache before and was killed.
  std::array<bool, 3> needs_flush{};

  // A flush that fails may have lost what was written before it, for good: the next one succeeds,
  // and yet it isn't there.
  std::uint64_t failed_fast_flushes = 0;
  std::uint64_t failed_flushes = 0; // those of the origin, too

  std::uint64_t failed_writebacks = 0;
  std::string writeback_failure; // of the last one, in words

  bytes fast_offset(cache_block block) const { return bytes{block.value() * block_size}; }
  bytes origin_offset(origin_block block) const { return bytes{block.value() * block_size}; }
  // What the piece writes, or where it is read to.
  std::span<std::byte> data_of(const piece &which) const {
    const std::uint64_t at =
        origin_offset(which.block).value() + which.begin - which.of->offset.value();
    return which.of->data.subspan(at, which.end - which.begin);
  }
  bool is_cacheable(origin_block block) const { return block.value() < nr_origin_blocks; }
};

} // namespace dmcache
