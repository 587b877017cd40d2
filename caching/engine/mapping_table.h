// Which cache block holds which origin block, and whether it is newer: the truth of a running
// cache, of which the metadata on disk is a copy that lags behind. 14 to 18 bytes a cache block.
#pragma once

#include <bit>
#include <cstdint>
#include <optional>

#include "base/assert.h"
#include "base/lazy_array.h"
#include "base/units.h"

namespace dmcache {

class mapping_table {
 public:
  // At most this many cache blocks.
  static constexpr std::uint64_t max_cache_blocks = std::uint64_t{1} << 28;
  // Origin blocks have numbers below this.
  static constexpr std::uint64_t max_origin_blocks = std::uint64_t{1} << 48;

  // Nothing is mapped.
  explicit mapping_table(std::uint64_t nr_cache_blocks);

  std::uint64_t nr_cache_blocks() const { return entries_.size(); }
  std::uint64_t nr_mapped() const { return nr_mapped_; }
  std::uint64_t nr_dirty() const { return nr_dirty_; }
  // Grows with every change of what is mapped or dirty.
  std::uint64_t revision() const { return revision_; }

  // Where the origin block is cached.
  std::optional<cache_block> find(origin_block block) const {
    const std::uint64_t wanted = block.value() << flag_bits | mapped;
    for (std::uint32_t at = heads_[head_of(block)]; at != 0; at = next_[at - 1]) {
      if ((entries_[at - 1] & ~(dirty | settling)) == wanted) {
        return cache_block{at - 1};
      }
    }
    return {};
  }

  bool is_mapped(cache_block block) const { return (entry(block) & mapped) != 0; }
  // Of a mapped block, as is what follows.
  origin_block origin_of(cache_block block) const {
    return origin_block{entry(block) >> flag_bits};
  }

  // Requires that neither of the two is in a mapping.
  void map(cache_block block, origin_block to);
  void unmap(cache_block block);

  bool is_dirty(cache_block block) const { return (entry(block) & dirty) != 0; }
  void mark_dirty(cache_block block);
  void mark_clean(cache_block block); // not settling any more, either

  // Copied to the origin, which has yet to make that durable: still dirty until then.
  bool is_settling(cache_block block) const { return (entry(block) & settling) != 0; }
  void mark_settling(cache_block block, bool is_so);

 private:
  static constexpr unsigned flag_bits = 16;
  static constexpr std::uint64_t mapped = 1;
  static constexpr std::uint64_t dirty = 2;
  static constexpr std::uint64_t settling = 4;

  std::uint64_t entry(cache_block block) const { return entries_[block.value()]; }
  std::uint64_t head_of(origin_block block) const {
    return block.value() * 0x9e3779b97f4a7c15U >> shift_;
  }

  lazy_array<std::uint64_t> entries_; // origin block << flag_bits | flags; 0: unmapped
  lazy_array<std::uint32_t> next_;    // of those with the same hash: cache block + 1, or 0
  unsigned shift_;
  lazy_array<std::uint32_t> heads_; // like next_
  std::uint64_t nr_mapped_ = 0;
  std::uint64_t nr_dirty_ = 0;
  std::uint64_t revision_ = 0;
};

} // namespace dmcache
