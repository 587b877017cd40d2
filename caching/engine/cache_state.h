// What the parts of the engine share: what is cached, what is known, and the way out for I/O. Each
// part changes only what is said to be its own here.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "caching/engine/block_locks.h"
#include "caching/engine/flow.h"
#include "caching/engine/intrusive_queue.h"
#include "caching/engine/mapping_table.h"
#include "caching/engine/online_metadata.h"
#include "caching/engine/request.h"
#include "caching/policy/policy.h"

namespace dmcache {

// A point in time, since any fixed one.
using instant = std::chrono::nanoseconds;

enum class cache_mode : std::uint8_t { writeback, writethrough, passthrough };

// What can be said of a cache when it is opened, and, but for the first four, anew while it runs.
struct engine_options {
  sectors block_size;                 // 0: what the metadata say, or 128 for new ones
  std::uint32_t metadata_version = 2; // of new metadata
  bool read_only = false;             // nothing is written anywhere
  bool may_format = true;             // if block 0 of the metadata is all zero
  cache_mode mode = cache_mode::writeback;
  std::string policy = "smq";
  std::vector<policy::setting> policy_settings;
  sectors migration_threshold{2048};
  bool discard_passdown = true;
  // Makes the policy of a name: others than this one's are possible.
  std::function<result<std::unique_ptr<dmcache::policy>>(std::string_view, const policy_geometry &)>
      make_policy = dmcache::make_policy;
};

// What is to be changed of the options in force.
using options_change = std::function<void(engine_options &)>;

// How far the metadata can be relied on.
enum class metadata_mode : std::uint8_t {
  untouched, // the cache was opened read-only: nothing is ever written
  write,
  read_only, // a change could not be made durable: NEEDS_CHECK is set, nothing migrates or flushes
  fail,      // not even that could be written: nothing is served any more
};

struct cache_counts {
  std::uint64_t demotions = 0;
  std::uint64_t promotions = 0;
  std::uint64_t writebacks = 0;
  std::uint64_t fast_errors_served = 0; // reads of clean blocks that the origin answered
  std::uint64_t migration_errors = 0;   // promotions, demotions and writebacks that failed
  std::uint64_t commits = 0;
};

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
