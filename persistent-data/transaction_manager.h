// Copy on write: what a transaction changes stands in blocks that the last committed one doesn't
// use, until the superblock names it. format.md: "Transactions", "Space map".
//
// One transaction can be on its way to the device while the next one is made. A change that fails
// leaves the transaction half made: abort() takes everything back to the last commit, and the
// roots that the caller holds are those of then.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/device.h"
#include "base/result.h"
#include "persistent-data/space_map.h"
#include "persistent-data/validator.h"

namespace dmcache {

class transaction_manager {
 private:
  struct buffer {
    explicit buffer(const block_type &of) : type{&of} {}

    std::span<std::byte, metadata_block_size> data() {
      return memory.span().first<metadata_block_size>();
    }

    const block_type *type;
    aligned_buffer memory{metadata_block_size};
  };

 public:
  // Opens sound metadata on `on`, which must outlive this; `root` is that of the durable
  // superblock. Fails if the space map can't be read, or counts a block more than once, as no cache
  // does.
  static result<std::unique_ptr<transaction_manager>> open(device &on, const space_map_root &root);

  // Begins metadata on a device that holds none yet. Block 0 is in use: it is the superblock's.
  static result<std::unique_ptr<transaction_manager>> create(device &on);

  // A block for reading, as it is now; stays as it is for as long as this lives, unless it is
  // changed in the same transaction.
  class readable {
   public:
    block_view data() const { return block_->data(); }

   private:
    friend class transaction_manager;
    std::shared_ptr<buffer> block_;
  };

  // A block of this transaction, for changing. Its number and checksum are set when it is written.
  class writable {
   public:
    metadata_block where() const { return where_; }
    std::span<std::byte, metadata_block_size> data() const { return block_->data(); }

   private:
    friend class transaction_manager;
    metadata_block where_;
    std::shared_ptr<buffer> block_;
  };

  // Fails if the block can't be read, isn't of this type, or isn't in use.
  result<readable> read(const block_type &type, metadata_block where);
  // Adds a block of zeroes. Fails if there is no room.
  result<writable> add(const block_type &type);
  // Returns `where` itself if it is of this transaction; else a copy, which takes its place.
  result<writable> shadow(const block_type &type, metadata_block where);
  // Frees a block, without reading it. Requires that it is in use.
  void release(metadata_block where);

  // Is the block in use, and of this transaction?
  bool is_new(metadata_block where) const;

  std::uint64_t nr_blocks() const { return space_.nr_blocks(); }
  // How many blocks can be added. Blocks that were freed don't count before the commit.
  std::uint64_t nr_available() const { return space_.nr_available(); }

  // A transaction on its way: these blocks are to be written and made durable, then a superblock
  // with this space map. The data live until committed() or abort().
  struct frozen {
    struct block {
      metadata_block where;
      std::span<std::byte, metadata_block_size> data;
    };

    space_map_root root;
    std::vector<block> writes; // ascending
  };

  // The transaction ends here, and the next one begins. One at a time can be on its way.
  result<frozen> freeze();
  // The frozen transaction is durable, its superblock included.
  void committed();
  // The frozen transaction, which has not reached a superblock, never will: what it changed is a
  // part of the present one again.
  void thaw();
  // Gives up this transaction and the frozen one, none of which has reached a superblock.
  void abort();

  // Freezes the transaction, writes it, and waits until it is durable. `write_superblock` makes
  // what was written before durable, and then its superblock. If this fails, the transaction is not
  // aborted, and may be durable or not.
  result<> commit(const std::function<result<>(const space_map_root &)> &write_superblock);

 private:
  enum class state : std::uint8_t {
    durable, // as on the device
    fresh,   // of this transaction
    on_its_way
  };

  struct entry {
    std::shared_ptr<buffer> block;
    state is = state::durable;
  };

  // Where the space map stands on the device.
  struct space_map_blocks {
    metadata_block index; // 0: nowhere yet, as with bitmaps
    metadata_block ref_counts;
    std::vector<space_map_index_entry> bitmaps;
  };

  transaction_manager(device &on, std::uint64_t nr_blocks);

  result<readable> fetch(const block_type &type, metadata_block where);
  result<> load(const space_map_root &root);
  result<> load_bitmap(std::size_t number, metadata_block where);
  result<> write_space_map();
  result<> move_bitmaps(std::vector<bool> &moved);
  result<> write_bitmap(std::size_t number);
  void changed(metadata_block block);
  void keep(std::uint64_t where, std::shared_ptr<buffer> block);
  std::error_code write(const std::vector<frozen::block> &blocks);

  device &on_;
  space_map space_;
  // Blocks that are still to be written, and tree nodes, which are few, and kept for as long as
  // they are in use: nothing else is ever needed twice.
  std::unordered_map<std::uint64_t, entry> cache_;
  space_map_blocks at_; // of the present transaction
  space_map_blocks frozen_at_;
  space_map_blocks durable_at_;
  std::vector<bool> bitmap_changed_; // since the last freeze()
  bool is_frozen_ = false;           // a transaction is on its way
  std::vector<std::shared_ptr<buffer>> on_their_way_;
};

} // namespace dmcache
