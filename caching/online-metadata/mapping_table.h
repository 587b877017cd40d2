// Which cache block holds which origin block, and whether it is newer: the truth of a running
// cache, of which the metadata on disk is a copy that lags behind. 14 bytes a cache block.
//
// A lookup takes about two accesses to memory that no processor's cache holds, which is most of
// what a hit takes: one of a hash table of cache blocks with open addressing, and one of the
// mapping that it leads to. Bits of the hash in the table spare it most of those that don't match.
// Where a block stands in the table is different in each process, and nothing else depends on it.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/assert.h"
#include "base/keyed_hash.h"
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
  // Of the mapped blocks, the one that is the hardest to find: so many slots are looked at for it.
  // Looks at the whole table.
  std::uint64_t longest_search() const;

  // Where the origin block is cached.
  std::optional<cache_block> find(origin_block block) const {
    const std::uint64_t wanted = block.value() << flag_bits | mapped;
    const std::uint64_t hash = hash_of(block);
    for (std::uint64_t at = home_of(hash); slots_[at] != 0; at = after(at)) {
      if ((slots_[at] & tag_mask) == tag_of(hash)) {
        const cache_block candidate = block_in(slots_[at]);
        if ((entry(candidate) & ~state_bits) == wanted) {
          return candidate;
        }
      }
    }
    return {};
  }

  bool is_mapped(cache_block block) const { return (entry(block) & mapped) != 0; }
  // Of a mapped block, as is what follows.
  origin_block origin_of(cache_block block) const {
    return origin_block{entry(block) >> flag_bits};
  }

  // What is mapped in [begin, end), of which there may be less. Throws std::bad_alloc.
  std::vector<origin_block> mapped_in(cache_block begin, cache_block end) const;

  // Requires that neither of the two is in a mapping. What is mapped is not stored yet.
  void map(cache_block block, origin_block to);
  void unmap(cache_block block);

  bool is_dirty(cache_block block) const { return (entry(block) & dirty) != 0; }
  void mark_dirty(cache_block block);
  void mark_clean(cache_block block); // not settling any more, either

  // The mapping stands in the metadata on disk.
  bool is_stored(cache_block block) const { return (entry(block) & stored) != 0; }
  void mark_stored(cache_block block);
  // It never will, as its data may have been lost; it has yet to be unmapped.
  bool is_suspect(cache_block block) const { return (entry(block) & suspect) != 0; }
  void mark_suspect(cache_block block);

  // Clean, and written to since the fast device was last flushed.
  bool is_unflushed(cache_block block) const { return (entry(block) & unflushed) != 0; }
  void mark_unflushed(cache_block block, bool is_so);

  // What the metadata say of the block, dirty or not, is more than the truth, never less: its dirty
  // bit is on disk (noted), or goes there with the next commit or the one on its way (to be noted),
  // until it is forgotten.
  bool is_noted(cache_block block) const { return (entry(block) & noted) != 0; }
  bool is_to_be_noted(cache_block block) const { return (entry(block) & to_be_noted) != 0; }
  bool is_dirty_on_disk(cache_block block) const {
    return (entry(block) & (dirty | noted | to_be_noted)) != 0;
  }
  void mark_to_be_noted(cache_block block);
  void mark_noted(cache_block block); // and not to be any more
  void forget_note(cache_block block);
  // Written to, or noted, since this was last reset.
  bool is_recent(cache_block block) const { return (entry(block) & recent) != 0; }
  void mark_recent(cache_block block, bool is_so);

  // Copied to the origin, which has yet to make that durable: still dirty until then.
  bool is_settling(cache_block block) const { return (entry(block) & settling) != 0; }
  void mark_settling(cache_block block, bool is_so);

 private:
  static constexpr unsigned flag_bits = 16;
  static constexpr std::uint64_t mapped = 1;
  static constexpr std::uint64_t dirty = 2;
  static constexpr std::uint64_t settling = 4;
  static constexpr std::uint64_t stored = 8;
  static constexpr std::uint64_t suspect = 16;
  static constexpr std::uint64_t unflushed = 32;
  static constexpr std::uint64_t noted = 64;
  static constexpr std::uint64_t to_be_noted = 128;
  static constexpr std::uint64_t recent = 256;
  static constexpr std::uint64_t state_bits =
      dirty | settling | stored | suspect | unflushed | noted | to_be_noted | recent;

  std::uint64_t entry(cache_block block) const { return entries_[block.value()]; }
  void set(cache_block block, std::uint64_t flag, bool is_so) {
    std::uint64_t &changed = entries_[block.value()];
    changed = is_so ? changed | flag : changed & ~flag;
  }

  // A slot holds a cache block, counted from 1, and a few bits of the hash; 0: it is empty.
  static constexpr std::uint32_t tag_mask = 0xe0000000U;
  static_assert(max_cache_blocks < ~tag_mask);

  std::uint64_t hash_of(origin_block block) const { return hash_(block.value()); }
  static std::uint32_t tag_of(std::uint64_t hash) {
    return static_cast<std::uint32_t>(hash) & tag_mask;
  }
  static cache_block block_in(std::uint32_t slot) { return cache_block{(slot & ~tag_mask) - 1}; }
  // Where a block of this hash stands, or as soon after it as there was an empty slot.
  std::uint64_t home_of(std::uint64_t hash) const { return (hash >> 32) * slots_.size() >> 32; }
  std::uint64_t after(std::uint64_t slot) const { return slot + 1 == slots_.size() ? 0 : slot + 1; }
  void empty(std::uint64_t slot);

  keyed_hash hash_;                   // or else the metadata could be made for slow searches
  lazy_array<std::uint64_t> entries_; // origin block << flag_bits | flags; 0: unmapped
  lazy_array<std::uint32_t> slots_;   // some are always empty
  std::uint64_t nr_mapped_ = 0;
  std::uint64_t nr_dirty_ = 0;
  std::uint64_t revision_ = 0;
};

} // namespace dmcache
