// The metadata of a running cache: read when it is opened, then written by transactions, each of
// which the engine carries to the device while the next one is made.
//
// Only open() does I/O. From then on nothing is read from the device: the tree nodes stay in
// memory, and array blocks are written whole, made of the mapping table, which is the truth. So a
// change costs nothing but a mark, and no request ever waits for the metadata device.
//
// What of the mapping table has been changed by the time of freeze() is what that commit claims.
// The caller sees to it that no claim is one that the fast device or the origin could still lose:
//  - a block is mapped after its data have been written to the fast device, and the fast device is
//    flushed between freeze() and the writing of the superblock;
//  - a cache block that was unmapped is used again only after committed().
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/device.h"
#include "base/lazy_array.h"
#include "base/result.h"
#include "base/units.h"
#include "caching/engine/mapping_table.h"
#include "caching/metadata/superblock.h"
#include "persistent-data/transaction_manager.h"

namespace dmcache {

struct cache_statistics {
  // Counted modulo 2^32, as they are stored.
  std::uint32_t read_hits = 0;
  std::uint32_t read_misses = 0;
  std::uint32_t write_hits = 0;
  std::uint32_t write_misses = 0;
};

// Discarded blocks of the origin. A discard block is the cache block doubled until the origin has
// at most 2^14 of them.
class discard_set {
 public:
  // Nothing is discarded.
  discard_set(sectors cache_block_size, sectors origin_size);

  sectors block_size() const { return block_size_; }
  std::uint64_t nr_blocks() const { return nr_blocks_; }
  bool empty() const { return nr_set_ == 0; }

  bool test(std::uint64_t block) const;
  void set(std::uint64_t block);
  void clear(std::uint64_t block);
  // Sets the blocks that lie wholly within [begin, end).
  void set_within(sectors begin, sectors end);

  std::uint64_t word(std::uint64_t index) const { return words_[index]; } // bit n: block 64·index+n

 private:
  sectors block_size_;
  std::uint64_t nr_blocks_;
  std::uint64_t nr_set_ = 0;
  std::vector<std::uint64_t> words_;
};

class online_metadata {
 public:
  struct open_options {
    sectors block_size; // of the cache; 0: what the superblock says. Another one there is refused.
    sectors fast_size;  // of the devices
    sectors origin_size;
    std::uint32_t format_version =
        2;                       // if the device is formatted, which it is if block 0 is all zero
    bool read_only = false;      // nothing is written, NEEDS_CHECK and the like don't matter
    bool is_passthrough = false; // refused if anything is dirty or was not cleanly shut down
  };

  // What was found, for the engine to start from.
  struct contents {
    std::unique_ptr<online_metadata> metadata;
    std::unique_ptr<mapping_table> mappings; // with what is dirty: all, without a clean shutdown
    std::unique_ptr<discard_set> discards;   // none, without a clean shutdown
    // Hints by cache block, if there are any that can be trusted for the policy below.
    std::optional<lazy_array<le32>> hints;
    std::string policy;
    std::array<std::uint32_t, 3> policy_version;
    cache_statistics statistics;
    sectors block_size;
    bool was_clean; // shut down, or just formatted
    bool was_formatted;
  };

  // Opens for use: CLEAN_SHUTDOWN is cleared on the device before this returns, and the number of
  // cache blocks is made that of the fast device. What the engine can't run on is refused, naming
  // the cache block and the origin block that are in the way, and leaves the device as it was. `on`
  // must outlive the metadata.
  static result<contents> open(device &on, const open_options &options);

  // `block` of the table, which the one of open() is, was mapped or unmapped.
  void changed(cache_block block);
  bool has_changes() const;

  struct commit {
    std::vector<transaction_manager::frozen::block> blocks; // to be written, then flushed
    std::span<std::byte, metadata_block_size> superblock;   // then this to block 0, and a flush
  };

  // All changes become a commit, whose data live until committed() or abort(). One at a time.
  // If this fails, abort() is due.
  result<commit> freeze();
  void committed();

  // The commit on its way and all changes are given up: nothing more will be written, except for
  // the superblock that this returns, of the last commit with NEEDS_CHECK set, live as long as
  // this.
  std::span<std::byte, metadata_block_size> abort();

  struct shutdown_state {
    const discard_set &discards;
    const cache_statistics &statistics;
    std::string_view policy;
    std::array<std::uint32_t, 3> policy_version;
    std::function<std::uint32_t(cache_block)> hint; // of a mapped block
  };

  // Puts more of what a clean shutdown keeps into the transaction: as much as the device has room
  // for. True: all of it is in, and the commit that follows is a clean shutdown, if nothing else
  // changes. False: commit, then call this again.
  result<bool> prepare_shutdown(const shutdown_state &state);

  std::uint32_t version() const { return superblock_.version; }
  bool is_needs_check() const { return superblock_.is_needs_check(); }
  std::uint64_t nr_blocks() const;
  std::uint64_t nr_used_blocks() const;

 private:
  superblock superblock_;
};

} // namespace dmcache
