// Which metadata blocks are in use: now, in the transaction that is being committed, and in the
// last one that is durable. A block that any of the three uses is never handed out: so nothing of a
// committed transaction is overwritten, whatever becomes of the next one.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "persistent-data/format.h"

namespace dmcache {

class space_map {
 public:
  // Covers `nr_blocks` blocks, at most max_metadata_blocks, none of which is in use.
  explicit space_map(std::uint64_t nr_blocks);

  std::uint64_t nr_blocks() const { return nr_blocks_; }
  // How many blocks allocate() can hand out.
  std::uint64_t nr_available() const { return nr_available_; }

  // Takes a block that is free, and returns it; nothing if there is none.
  std::optional<metadata_block> allocate();
  // Notes, when a space map is loaded, that a block is in use. Requires that it wasn't yet.
  void take(metadata_block block);
  // The block is not in use any more. Requires that it is.
  void release(metadata_block block);

  bool is_used(metadata_block block) const { return test(now_, block.value()); }
  // Was the block allocated since the last freeze()? What stands there belongs to no other
  // transaction, then.
  bool is_new(metadata_block block) const {
    return is_used(block) && !test(frozen_, block.value()) && !test(durable_, block.value());
  }

  // A transaction begins to be committed: it uses what is in use now. Requires that no other one is
  // being committed.
  void freeze();
  // The transaction being committed is durable.
  void commit();
  // The transaction being committed will not be: it goes on as part of the present one.
  void thaw();
  // Back to what is durable.
  void abort();

 private:
  using bits = std::vector<std::uint64_t>;

  static bool test(const bits &of, std::uint64_t block) {
    return (of[block / bits_per_word] >> block % bits_per_word & 1) != 0;
  }
  void recount();

  std::uint64_t nr_blocks_;
  bits now_;
  bits frozen_;
  bits durable_;
  std::uint64_t nr_available_;
  std::size_t cursor_ = 0; // words before this have no available block
};

} // namespace dmcache
