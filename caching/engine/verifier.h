// Compares cached blocks with the origin while the cache is in use, in the background.
//
// A block is compared under its lock, which keeps writes out as a writeback does; reads and hits of
// all other blocks go on. Comparing has a budget of its own, as large as that of the migrations, so
// that neither waits for the other.
#pragma once

#include <cstdint>
#include <string>

#include "caching/engine/cache_state.h"
#include "caching/engine/committer.h"
#include "caching/engine/migrator.h"

namespace dmcache {

// A block that is to be compared, and what came out.
struct compared_block {
  enum class finding : std::uint8_t {
    untried, // the cache was to be changed, or shut down
    not_cached,
    equal,
    differs,
    discarded, // it is clean and differs, but the origin has discarded it, which says nothing
    unreadable,
  };

  origin_block block;

  finding found = finding::untried;
  cache_block cached_in{}; // where it was, if it was cached
  bool is_dirty = false;   // it was when it was compared
  bool is_changed = false; // it was cleared or dropped, as comparison_changes says
  std::string failure{};   // why it is unreadable, in words
};

// What is to become of blocks that are compared.
struct comparison_changes {
  bool clears_equal = false; // dirty ones that are equal become clean
  bool drops_stale = false;  // clean ones that differ leave the cache
};

class verifier {
 public:
  // All outlive this.
  verifier(cache_state &state, committer &commits, migrator &migrations)
      : state_{state}, commits_{commits}, migrations_{migrations} {}

  // May one more block be compared now?
  bool has_room() const;
  // Compares the block, which is untouched until then, and lives as long. `nr_open` counts those
  // that are under way. One that is to be cleared settles when it has ended.
  void start(compared_block &asked, comparison_changes wanted, std::uint64_t &nr_open) {
    flows_.start(do_compare(asked, wanted, nr_open));
  }
  // Can it be believed that the origin keeps what is read of it? Not after a flush that failed.
  bool may_clear() const { return !state_.flushes.has_ever_failed(); }

  bool is_busy() const { return !flows_.empty(); }

 private:
  flow<> do_compare(compared_block &asked, comparison_changes wanted, std::uint64_t &nr_open);
  flow<compared_block::finding> compare_data(compared_block &asked);

  cache_state &state_;
  committer &commits_;
  migrator &migrations_;
  std::uint64_t nr_comparing_ = 0; // blocks
  flow_set flows_;
};

} // namespace dmcache
