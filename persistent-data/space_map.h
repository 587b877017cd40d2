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
  // Of `nr_blocks` blocks, at most max_metadata_blocks, none of them in use.
  explicit space_map(std::uint64_t nr_blocks);

  std::uint64_t nr_blocks() const { return nr_blocks_; }
  // How many blocks allocate() can hand out.
  std::uint64_t nr_available() const { return nr_available_; }

  // A block that is in use from now on; nothing if there is none.
  std::optional<metadata_block> allocate();
  // Loading: the block is in use. Requires that it isn't yet.
  void take(metadata_block block);
  // The block is not in use any more. Requires that it is.
  void release(metadata_block block);

  bool is_used(metadata_block block) const { return test(now_, block.value()); }
  // Allocated since the last freeze(): what stands there belongs to no other transaction.
  bool is_new(metadata_block block) const {
    return is_used(block) && !test(frozen_, block.value()) && !test(durable_, block.value());
  }

  // What is in use now becomes that of the transaction being committed; nothing else may be.
  void freeze();
  // The transaction being committed is durable.
  void commit();
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
