// Compares all that a cache in use holds with its origin (cache_ctl verify): in the order of the
// origin, several blocks at a time, at the engine's pace.
//
// It remembers 8 bytes for each cached block. What is cached later is not compared.
#pragma once

#include <atomic>
#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "caching/runtime/threaded_runtime.h"

namespace dmcache {

struct verification_options {
  bool clear_equal = false;       // dirty blocks that are equal become clean
  bool drop_stale = false;        // clean blocks that differ leave the cache
  bool accepts_differing = false; // they do even if most differ, as on another cache's devices
};

// How many blocks there were of each kind.
struct verification_summary {
  bytes block_size;
  std::uint64_t clean = 0;
  std::uint64_t clean_discarded = 0; // they differ, but the origin has discarded them
  std::uint64_t clean_differing = 0;
  std::uint64_t dirty = 0;
  std::uint64_t dirty_equal = 0;
  std::uint64_t unreadable = 0;
  std::uint64_t cleared = 0;
  std::uint64_t dropped = 0;
  std::uint64_t stale_left = 0;    // clean ones that differ, and are cached still
  bool is_drop_refused = false;    // since most differ
  std::set<std::string> reasons{}; // why some are unreadable; a few
};

class cache_verification {
 public:
  // `of` outlives this.
  cache_verification(threaded_runtime &of, const verification_options &how)
      : cache_{of}, how_{how} {}

  // Once. Fails as the engine's compare() does, or with failure::failed if it is stopped. Throws
  // std::bad_alloc.
  result<verification_summary> run() EXCLUDES(mutex_);

  // For any thread, while it runs. ----------------------------------------------------------------

  // Makes it end soon.
  void stop() { is_stopped_ = true; }
  std::uint64_t nr_compared() const { return nr_compared_; }
  std::uint64_t nr_blocks() const { return nr_blocks_; }
  // Clean blocks that differ, and dirty ones that are equal, found since this was called last.
  std::vector<compared_block> take_found() EXCLUDES(mutex_);

 private:
  void list_blocks();
  template <typename Each>
  result<> compare(std::span<const origin_block> blocks, comparison_changes wanted, Each each);
  void count(const compared_block &compared) EXCLUDES(mutex_);
  result<> drop_stale();

  threaded_runtime &cache_;
  const verification_options how_;
  std::vector<origin_block> blocks_;
  std::vector<origin_block> stale_;
  verification_summary so_far_{};
  std::atomic<bool> is_stopped_ = false;
  std::atomic<std::uint64_t> nr_compared_ = 0;
  std::atomic<std::uint64_t> nr_blocks_ = 0;
  mutex mutex_;
  std::vector<compared_block> found_ GUARDED_BY(mutex_);
};

} // namespace dmcache
