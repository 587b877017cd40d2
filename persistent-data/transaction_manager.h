// Copy on write: what a transaction changes stands in blocks that the last committed one doesn't
// use, until the superblock names it. format.md: "Transactions", "Space map".
//
// One transaction can be on its way to the device while the next one is made. A change that fails
// leaves the transaction half made: abort() takes everything back to the last commit, and the
// roots that the caller holds are those of then.
#pragma once

#include <cstddef>
#include <functional>
#include <list>
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
  // How many blocks are kept of those that were read or written, to spare reading them again. Tree
  // nodes don't count: they are few, and kept for as long as they are in use.
  static constexpr std::size_t default_cache_blocks = 1024;

  // For sound metadata on `on`, which must outlive this, whose superblock, which is durable, has
  // this space map. Fails if it can't be read or counts a block more than once, as no cache does.
  static result<std::unique_ptr<transaction_manager>>
  open(device &on, const space_map_root &root, std::size_t cache_blocks = default_cache_blocks);

  // For a device that holds no metadata yet. Block 0 is in use: the superblock's.
  static result<std::unique_ptr<transaction_manager>>
  create(device &on, std::size_t cache_blocks = default_cache_blocks);

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

  // Fails if it can't be read, isn't what it should be, or isn't in use.
  result<readable> read(const block_type &type, metadata_block where);
  // A block of zeroes. Fails if there is no room.
  result<writable> add(const block_type &type);
  // `where` itself if it is of this transaction, else a copy, which takes its place.
  result<writable> shadow(const block_type &type, metadata_block where);
  // Requires that it is in use; nothing is read.
  void release(metadata_block where);

  // Is `where` in use, and of this transaction?
  bool is_new(metadata_block where) const;

  std::uint64_t nr_blocks() const { return space_.nr_blocks(); }
  // How many blocks can be added; freeing doesn't tell before the commit.
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
  // Gives up this transaction and the frozen one, none of which has reached a superblock.
  void abort();

  // All of this, waiting for each step; `write_superblock` makes what was written before durable,
  // and then its superblock. Afterwards the transaction is committed, or, if this fails, neither
  // aborted nor known not to be durable.
  result<> commit(const std::function<result<>(const space_map_root &)> &write_superblock);

 private:
  enum class state : std::uint8_t {
    clean, // as on the device, and can be forgotten
    kept,  // as on the device
    fresh, // of this transaction
    on_its_way
  };

  struct entry {
    std::shared_ptr<buffer> block;
    state is = state::clean;
    std::list<std::uint64_t>::iterator in_use_order; // if clean
  };

  // Where the space map stands on the device.
  struct space_map_blocks {
    metadata_block index; // 0: nowhere yet, as with bitmaps
    metadata_block ref_counts;
    std::vector<space_map_index_entry> bitmaps;
  };

  transaction_manager(device &on, std::uint64_t nr_blocks, std::size_t cache_blocks);

  result<readable> fetch(const block_type &type, metadata_block where);
  result<> load(const space_map_root &root);
  result<> load_bitmap(std::size_t number, metadata_block where);
  result<> write_space_map();
  result<> move_bitmaps(std::vector<bool> &moved);
  result<> write_bitmap(std::size_t number);
  void changed(metadata_block block);
  void forget(metadata_block where);
  void keep(std::uint64_t where, std::shared_ptr<buffer> block);
  std::error_code write(const std::vector<frozen::block> &blocks);

  device &on_;
  space_map space_;
  std::size_t cache_blocks_;
  std::unordered_map<std::uint64_t, entry> cache_;
  std::list<std::uint64_t> use_order_; // of clean entries; the one used last is the last
  space_map_blocks at_;                // of the present transaction
  space_map_blocks frozen_at_;
  space_map_blocks durable_at_;
  std::vector<bool> bitmap_changed_; // since the last freeze()
  bool is_frozen_ = false;           // a transaction is on its way
  std::vector<std::shared_ptr<buffer>> on_their_way_;
};

} // namespace dmcache
