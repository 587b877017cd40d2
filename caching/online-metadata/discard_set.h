// Which blocks of the origin are discarded: hold nothing that anybody wants.
#pragma once

#include <cstdint>
#include <vector>

#include "base/units.h"

namespace dmcache {

// A discard block is the cache block doubled until the origin has at most 2^14 of them; the last
// one may reach beyond the origin's end.
class discard_set {
 public:
  // Nothing is discarded. `cache_block_size` is not 0.
  discard_set(sectors cache_block_size, sectors origin_size);

  sectors block_size() const { return block_size_; }
  std::uint64_t nr_blocks() const { return nr_blocks_; }
  bool empty() const { return nr_set_ == 0; }

  // Requires that there is such a block.
  bool test(std::uint64_t block) const { return (words_[block / 64] >> block % 64 & 1) != 0; }
  void set(std::uint64_t block);
  void clear(std::uint64_t block);
  // Sets the blocks that lie wholly within [begin, end).
  void set_within(sectors begin, sectors end);

  // Bit n: block 64 * index + n. Bits beyond the last block are zero.
  std::uint64_t word(std::uint64_t index) const { return words_[index]; }
  std::uint64_t nr_words() const { return words_.size(); }

 private:
  sectors block_size_;
  std::uint64_t nr_blocks_;
  std::uint64_t nr_set_ = 0;
  std::vector<std::uint64_t> words_;
};

} // namespace dmcache
