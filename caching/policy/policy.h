// What to keep in the cache: the decisions, and nothing but them. A policy does no I/O, has no
// clock and no thread, and doesn't know which cache block holds which origin block (mapping_table.h
// does); so one can be replaced by another on a live cache, and replayed against a trace.
//
// A cache block is, to a policy, free, reserved (a promotion into it is under way), or used: clean
// or dirty. The caller tells it what becomes of each, in any order that these states allow.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/units.h"

namespace dmcache {

// How a block could be promoted at the moment.
enum class promotion : std::uint8_t {
  none,         // not at all: it isn't allowed, or is under way already
  by_copy,      // by reading it from the origin, which the read that missed does anyway
  after_write,  // by reading it from the origin when the write that missed has reached it
  without_copy, // a write covers it, or it is discarded: nothing has to be read
};

// A used cache block that should become free, or clean.
struct background_work {
  enum class kind : std::uint8_t { demote, write_back };

  kind task;
  cache_block block; // to demote: a clean one; to write back: a dirty one
};

// What reading the origin takes, on average of late.
struct origin_read_times {
  std::chrono::nanoseconds miss;  // a read that missed the cache, without a promotion
  std::chrono::nanoseconds block; // a whole block, for a promotion
};

// What a policy knows of one block.
struct block_account {
  using count = std::pair<std::string, std::uint64_t>; // name, in words with _ between them

  std::vector<count> counts; // for programs
  std::string text;          // the same for people, and what follows from it, in whole sentences
};

struct policy_geometry {
  std::uint64_t nr_cache_blocks;
  std::uint64_t nr_origin_blocks;
  sectors block_size;
};

class policy {
 public:
  using setting = std::pair<std::string, std::string>; // key, value

  policy() = default;
  policy(const policy &) = delete;
  policy &operator=(const policy &) = delete;
  virtual ~policy() = default;

  // The name and the version that the superblock and the status line say.
  virtual std::string_view name() const = 0;
  virtual std::array<std::uint32_t, 3> version() const = 0;

  // Marks a free cache block as used, as it was when the cache was opened. `hint` is what hint()
  // said when the cache was shut down, if that can be trusted.
  virtual void load(cache_block block, origin_block of, bool is_dirty,
                    std::optional<std::uint32_t> hint) = 0;

  // A request came to a used cache block.
  virtual void hit(cache_block block) = 0;
  // A request came to an origin block that isn't cached. If a cache block is returned, that one is
  // reserved, and the origin block should be promoted into it; never if `possible` is none.
  virtual std::optional<cache_block> miss(origin_block block, promotion possible) = 0;

  // A promotion ended: the cache block is used and clean, or, if it failed, free again.
  virtual void promoted(cache_block block, bool is_done) = 0;

  // A used block has become dirty or clean; it may have been so already.
  virtual void mark_dirty(cache_block block) = 0;
  virtual void mark_clean(cache_block block) = 0;

  // What should be done next, if anything. A block is not named again before completed() is called
  // for it. `is_idle` says that nobody is waiting for the cache, or that what is dirty has to become
  // less.
  virtual std::optional<background_work> next_work(bool is_idle) = 0;
  // The same, but nothing is to be written back.
  virtual std::optional<background_work> next_demotion() = 0;
  // What next_work() or next_demotion() asked for has ended. If it is done, a block that was demoted
  // is free, and one that was written back is clean; if not, the block is as it was.
  virtual void completed(const background_work &work, bool is_done) = 0;
  // The used block lost its mapping and is free, whatever next_work() asked for: completed() will
  // not be called for that any more.
  virtual void invalidated(cache_block block) = 0;

  // Time has come this far. Called at least once a second while the cache is in use.
  virtual void tick(std::uint64_t seconds) = 0;
  // What a promotion costs and may spare: known when both have happened, and told time and again.
  virtual void measured(const origin_read_times & /*times*/) {}

  // The hint of a used block, for load().
  virtual std::uint32_t hint(cache_block block) const = 0;

  // Sets a tunable. Fails with failure::usage and a text for the user.
  virtual result<> set(std::string_view key, std::string_view value) = 0;
  // The tunables, for the status line.
  virtual std::vector<setting> settings() const = 0;

  virtual std::uint64_t nr_free() const = 0;

  // How often an origin block that isn't cached was touched, as the policy counts it, and what is
  // missing for a promotion.
  virtual block_account account_of_uncached(origin_block /*block*/) const { return {}; }
  // What keeps a used cache block in the cache.
  virtual block_account account_of_cached(cache_block /*block*/) const { return {}; }
};

// Is there a policy of this name?
bool is_policy(std::string_view name);

// Makes the policy of this name: "sift", "smq", "cleaner", or "mq" and "default", which stand for
// smq. All cache blocks are free. Fails with failure::usage and the names that there are.
result<std::unique_ptr<policy>> make_policy(std::string_view name, const policy_geometry &geometry);

// The policy, if it was made, with these settings, in order. Fails as policy::set() does.
result<std::unique_ptr<policy>> with_settings(result<std::unique_ptr<policy>> made,
                                              std::span<const policy::setting> settings);

} // namespace dmcache
