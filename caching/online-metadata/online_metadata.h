// The metadata of a running cache: read when it is opened, then written by transactions, each of
// which the engine carries to the device while the next one is made.
//
// Only open() does I/O. From then on nothing is read from the device: the tree nodes stay in
// memory, and array blocks are written whole, made of the mapping table, which is the truth. So a
// change costs nothing but a mark, and no request ever waits for the metadata device.
//
// What of the mapping table has been changed by the time of freeze() is what that commit claims.
// The caller sees to it that no claim is one that the fast device or the origin could still lose:
// 1. A block is mapped after its data have been written to the fast device, and the fast device is
//    flushed between freeze() and the writing of the superblock. A block whose data may have been
//    lost is marked suspect, and is not claimed.
// 2. A cache block that was unmapped is used again only after committed().
//
// If the dirty state is tracked exactly, each commit says CLEAN_SHUTDOWN, and whoever opens the
// cache after a crash believes what that vouches for. So all of it is true at all times (engine.md,
// 16):
// 3. The dirty bits are those of mapping_table::is_dirty_on_disk(): at least what is dirty. The
//    caller writes to a block only when it is noted, after committed().
// 4. The discard bitset says that nothing is discarded, and there is no array of hints, or one with
//    a hint for each cache block. Hints that are out of date do no harm.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/device.h"
#include "base/lazy_array.h"
#include "base/result.h"
#include "base/units.h"
#include "caching/metadata/mapping_writer.h"
#include "caching/metadata/superblock.h"
#include "caching/online-metadata/discard_set.h"
#include "caching/online-metadata/mapping_table.h"
#include "persistent-data/transaction_manager.h"

namespace dmcache {

struct cache_statistics {
  // Counted modulo 2^32, as they are stored.
  std::uint32_t read_hits = 0;
  std::uint32_t read_misses = 0;
  std::uint32_t write_hits = 0;
  std::uint32_t write_misses = 0;
};

// What opening has found, before anything is written.
struct found_cache {
  bool is_new;             // to be formatted
  const superblock &block; // as it is on the device
  const mapping_table &mappings;
  const discard_set &discards;
  std::uint64_t nr_cache_blocks;  // of the fast device
  std::uint64_t nr_beyond_origin; // clean blocks mapped to beyond the origin's end, which will go
};

// Says whether the cache may be used. An error refuses it.
using cache_inspection = std::function<result<>(const found_cache &)>;

class online_metadata {
 public:
  struct open_options {
    sectors block_size; // of the cache; 0: what the superblock says. Another one there is refused.
    sectors fast_size;  // of the devices
    sectors origin_size;
    std::uint32_t format_version =
        2;                         // if the device is formatted, which it is if block 0 is all zero
    std::string_view policy = {};  // that the superblock names then; at most 16 characters
    bool read_only = false;        // nothing is written, NEEDS_CHECK and the like don't matter
    bool is_passthrough = false;   // refused if anything is dirty or was not cleanly shut down
    bool is_exact = false;         // the dirty state is tracked exactly, if there is room for that
    cache_inspection inspect = {}; // none: whatever can be opened is used
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
  // What is_dirty_on_disk() of it has changed. Of use while the dirty state is tracked exactly.
  void dirty_changed(cache_block block);

  // Is the dirty state tracked exactly? What open() found dirty is noted then.
  bool is_exact() const { return is_exact_; }
  // Not from the next commit on: after a crash all will count as dirty.
  void stop_exact();

  bool has_changes() const;

  // Is there room on the device for the next commit if this block changes, too? Else the change has
  // to wait until what was changed so far is committed. Without asking, freeze() may fail.
  bool has_room_for(cache_block block) const;
  // No block can change any more: there is no room, and nothing that a commit would free.
  bool is_full() const;

  struct commit {
    std::vector<transaction_manager::frozen::block> blocks; // to be written, then flushed
    std::span<std::byte, metadata_block_size> superblock;   // then this to block 0, and a flush
  };

  // All changes become a commit, whose data live until committed() or abort(). One at a time.
  // If this fails, abort() is due.
  result<commit> freeze();
  void committed();
  // The commit on its way, of which the superblock has not been written, is given up; its changes
  // are part of the next one.
  void thaw();

  // The commit on its way and all changes are given up: nothing more will be written, except for
  // the superblock that this returns, of the last commit with NEEDS_CHECK set, live as long as
  // this. Changes mean nothing from then on.
  std::span<std::byte, metadata_block_size> abort();

  struct shutdown_state {
    const discard_set &discards;
    const cache_statistics &statistics;
    std::string_view policy; // at most 16 characters
    std::array<std::uint32_t, 3> policy_version;
    std::function<std::uint32_t(cache_block)> hint; // of a mapped block
  };

  // Puts more of what a clean shutdown keeps into the transaction: as much as the device has room
  // for. True: all of it is in, and the commit that follows is a clean shutdown, unless the table
  // changes before. False: commit, then call this again. If this fails, for lack of room, what is
  // in the transaction can still be committed, without being a clean shutdown.
  result<bool> prepare_shutdown(const shutdown_state &state);

  std::uint32_t version() const { return superblock_.version; }
  bool is_needs_check() const { return superblock_.is_needs_check(); }
  std::uint64_t nr_blocks() const;
  std::uint64_t nr_used_blocks() const; // now, or by the commit that the next one replaces

 private:
  class opening;

  // Parts of an array that have changed.
  class part_set {
   public:
    explicit part_set(std::uint64_t nr_parts = 0) : has_(nr_parts) {}
    std::uint64_t size() const { return size_; }
    // How many it would have with this one.
    std::uint64_t size_with(std::uint64_t part) const { return size_ + (has_[part] ? 0 : 1); }
    void add(std::uint64_t part) {
      size_ = size_with(part);
      has_[part] = true;
    }
    void clear() { *this = part_set{has_.size()}; }
    // Calls `write` with each part, in order, and takes it out, until one fails.
    template <typename Write> result<> drain(Write write);

   private:
    std::vector<bool> has_;
    std::uint64_t size_ = 0;
  };

  // How much of a clean shutdown is in the transaction, or was committed.
  struct shutdown_progress {
    bool has_hint_array;      // that the hints go to
    bool is_hint_array_whole; // it has always had all of its entries
    std::uint64_t hint_parts;
    bool discards;
    std::uint64_t dirty_parts;
    std::uint64_t revision; // of the table, when the dirty state was written
    bool is_complete;
  };

  // Without transactions: read-only.
  online_metadata(const superblock &block, std::unique_ptr<transaction_manager> transactions,
                  const mapping_table &table);

  result<> load_trees();
  // Are dirty bits written as they change, and beside the mappings?
  bool has_dirty_parts() const { return is_exact_ && superblock_.has_dirty_bitset(); }
  result<> write_changed_parts();
  std::uint64_t blocks_of_changed_parts(std::uint64_t nr_changed, std::uint64_t nr_dirty) const;
  std::uint64_t reserve() const;
  result<bool> has_room_to(std::uint64_t add_blocks) const;
  bool vouches_for_all() const;
  bool has_room_for_exact(std::uint64_t nr_dirty_parts, std::uint64_t nr_changed,
                          const discard_set &none) const;
  result<bool> write_hints(const shutdown_state &state);
  bool are_hints_of(const shutdown_state &state) const;
  result<> write_hint_part(std::uint64_t part, const shutdown_state &state);
  result<bool> write_discards(const discard_set &discards);
  result<> replace_discards(const discard_set &discards);
  result<bool> write_dirty_state();
  void describe(const shutdown_state &state);
  std::span<std::byte, metadata_block_size> seal_into(aligned_buffer &buffer,
                                                      const superblock &block) const;

  superblock superblock_; // of the transaction; never CLEAN_SHUTDOWN, unless read-only
  superblock frozen_;     // of the commit on its way
  superblock durable_;    // of the last one
  std::unique_ptr<transaction_manager> transactions_;
  const mapping_table &table_;
  std::optional<mapping_writer> mappings_;
  part_set changed_;       // of the mappings
  part_set dirty_changed_; // of the dirty bits, if they are kept beside the mappings
  bool is_exact_ = false;
  bool is_pending_ = false; // the transaction holds other changes
  bool is_frozen_ = false;
  bool is_aborted_ = false;
  std::optional<shutdown_progress> shutdown_;
  aligned_buffer commit_block_{metadata_block_size};
  aligned_buffer needs_check_block_{metadata_block_size};
};

} // namespace dmcache
