// All that a cache's metadata says, in memory: gathered from a dump or from damaged metadata, in
// any order, and written as new metadata.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/lazy_array.h"
#include "caching/metadata/mapping_format.h"
#include "caching/metadata/metadata_reader.h"

namespace dmcache {

class cache_contents final : public metadata_visitor {
 public:
  // `block` says what no structure does: version, sizes, policy, flags, statistics, the origin's
  // discard blocks. Its roots mean nothing. Memory grows with what is added, not with what it
  // says.
  explicit cache_contents(const superblock &block);

  const superblock &described() const { return superblock_; }
  superblock &described() { return superblock_; }

  // Each adds what it is given; or changes nothing, and returns what forbids it, for the user to
  // read.
  std::optional<std::string> add(const mapping &each);
  std::optional<std::string> add_hint(cache_block block, le32 hint);
  std::optional<std::string> add_discards(std::uint64_t begin, std::uint64_t end);

  // Each adds what a reader has checked already.
  void mappings(std::span<const mapping> some) override;
  void hints(cache_block first, std::span<const le32> some) override;
  void discards(std::uint64_t begin, std::uint64_t end) override;

  // Drops every mapping to one of these, and returns how many there were.
  std::uint64_t drop(const origin_block_set &unwanted);

  // Forgets the discards, and what they say of the origin's size.
  void drop_discards();

  std::uint64_t nr_mapped() const { return nr_mapped_; }
  std::uint64_t nr_dirty() const;
  std::uint64_t origin_end() const { return origin_end_; }   // one past the last origin block
  std::uint64_t discard_end() const { return discard_end_; } // one past the last discarded one

  struct location {
    origin_block origin;
    cache_block cached_in;

    auto operator<=>(const location &) const = default;
  };
  // Where all blocks are that are mapped, or dirty, in order of cache blocks.
  std::vector<location> mapped_blocks() const;
  std::vector<location> dirty_blocks() const;

  // Requires that there is such a block.
  bool is_dirty(cache_block block) const {
    const std::uint64_t word = dirty_[block.value() / bits_per_word];
    return (word >> block.value() % bits_per_word & 1) != 0;
  }

  // Is all of this origin block discarded, if the discards can be believed? They can after a clean
  // shutdown.
  bool is_discarded(origin_block block) const;

  // The origin block of a cache block that is mapped, clean, and not known to be discarded.
  std::optional<origin_block> clean_at(cache_block block) const;

  // Fails with failure::failed unless a device of `size` has room for what `block` describes.
  static result<> check_room(const superblock &block, bytes size);

  // How many blocks in a row build() needs at most, besides the superblock, on a device of `size`.
  static std::uint64_t blocks_needed(const superblock &block, bytes size);

  // Writes all but the superblock, from block `first` on, and returns the superblock that leads to
  // it, for commit_superblock(). Requires that blocks_needed() are there. Fails with
  // failure::environment.
  result<superblock> build(device &to, metadata_block first) const;

  // Judges what build() has written, before it counts, and may change its superblock.
  using acceptance = std::function<result<>(superblock &)>;

  // Writes valid metadata to `to`. Metadata that stand there stay in force until these stand durably
  // beside them and `accept`, if there is one, agrees, and stay if anything fails. If they leave no
  // room for that, or are too damaged to tell, `to` holds no metadata meanwhile. Fails with
  // failure::failed, before it writes, if there is no room, with failure::environment on I/O errors,
  // and as `accept` does.
  result<> write(device &to, progress &watcher, const acceptance &accept = {}) const;

  struct changes {
    std::span<const location> cleaned{};
    std::span<const location> unmapped{}; // of clean blocks
  };
  // Makes changes here and on `on`, from which all of this was read, and of which `usage` says what is
  // in use. The cache counts as cleanly shut down from then on; hints and discards go if they couldn't
  // be trusted. More can be changed later, unless this fails; some of it may be changed on the device
  // then.
  result<> change(device &on, const block_usage &usage, const changes &wanted);

 private:
  void set_clean(cache_block block);
  result<> replace_untrusted(transaction_manager &in, superblock &block,
                             const block_usage &usage) const;
  void index_origins();
  superblock superblock_;
  lazy_array<mapping_entry> entries_; // without dirty flags
  lazy_array<std::uint64_t> dirty_;   // a bit per cache block
  lazy_array<le32> hints_;
  bool has_hints_ = false;             // if not, no hint array is written
  lazy_array<std::uint64_t> has_hint_; // a bit per cache block
  std::vector<key_range> discards_;
  origin_block_set origins_; // of the mappings from add(), and of all others if has_all_origins_
  bool has_all_origins_ = true;
  std::uint64_t nr_mapped_ = 0;
  std::uint64_t origin_end_ = 0;
  std::uint64_t discard_end_ = 0;
};

} // namespace dmcache
