#include "caching/online-metadata/mapping_table.h"

#include <algorithm>

namespace dmcache {

// One and a half slots for each cache block: what is searched lies in a cache line or two.
mapping_table::mapping_table(std::uint64_t nr_cache_blocks)
    : entries_{nr_cache_blocks}, slots_{nr_cache_blocks + nr_cache_blocks / 2 + 1} {
  require(nr_cache_blocks <= max_cache_blocks, "no more cache blocks than can be counted");
}

std::vector<origin_block> mapping_table::mapped_in(cache_block begin, cache_block end) const {
  std::vector<origin_block> found;
  for (cache_block at = begin; at < end && at.value() < nr_cache_blocks(); ++at) {
    if (is_mapped(at)) {
      found.push_back(origin_of(at));
    }
  }
  return found;
}

void mapping_table::map(cache_block block, origin_block to) {
  require(!is_mapped(block), "a cache block holds one origin block");
  require(to.value() < max_origin_blocks, "the number of an origin block fits 48 bits");
  entries_[block.value()] = to.value() << flag_bits | mapped;
  const std::uint64_t hash = hash_of(to);
  std::uint64_t at = home_of(hash);
  while (slots_[at] != 0) {
    at = after(at);
  }
  slots_[at] = static_cast<std::uint32_t>(block.value() + 1) | tag_of(hash);
  ++nr_mapped_;
  ++revision_;
}

void mapping_table::unmap(cache_block block) {
  require(is_mapped(block), "only what is mapped can be unmapped");
  mark_clean(block);
  const std::uint64_t hash = hash_of(origin_of(block));
  const std::uint32_t slot = static_cast<std::uint32_t>(block.value() + 1) | tag_of(hash);
  std::uint64_t at = home_of(hash);
  while (slots_[at] != slot) {
    require(slots_[at] != 0, "a mapped block is found by its hash");
    at = after(at);
  }
  empty(at);
  entries_[block.value()] = 0;
  --nr_mapped_;
  ++revision_;
}

// A search ends at an empty slot: those behind it that would not be found any more move up.
void mapping_table::empty(std::uint64_t slot) {
  for (std::uint64_t at = after(slot); slots_[at] != 0; at = after(at)) {
    const std::uint64_t home = home_of(hash_of(origin_of(block_in(slots_[at]))));
    const bool is_between = slot < at ? slot < home && home <= at : slot < home || home <= at;
    if (!is_between) {
      slots_[slot] = slots_[at];
      slot = at;
    }
  }
  slots_[slot] = 0;
}

std::uint64_t mapping_table::longest_search() const {
  std::uint64_t longest = 0;
  for (std::uint64_t at = 0; at < slots_.size(); ++at) {
    if (slots_[at] != 0) {
      const std::uint64_t home = home_of(hash_of(origin_of(block_in(slots_[at]))));
      longest = std::max(longest, (at < home ? at + slots_.size() : at) - home + 1);
    }
  }
  return longest;
}

void mapping_table::mark_dirty(cache_block block) {
  require(is_mapped(block), "only what is mapped can be dirty");
  if (!is_dirty(block)) {
    entries_[block.value()] |= dirty;
    ++nr_dirty_;
    ++revision_;
  }
}

void mapping_table::mark_clean(cache_block block) {
  if (is_dirty(block)) {
    entries_[block.value()] &= ~(dirty | settling);
    --nr_dirty_;
    ++revision_;
  }
}

void mapping_table::mark_stored(cache_block block) {
  require(is_mapped(block), "only what is mapped can be stored");
  set(block, stored, true);
}

void mapping_table::mark_suspect(cache_block block) {
  require(is_mapped(block) && !is_stored(block), "only what isn't stored yet can be held back");
  set(block, suspect, true);
}

void mapping_table::mark_unflushed(cache_block block, bool is_so) {
  require(is_mapped(block), "only what is mapped is written to");
  set(block, unflushed, is_so);
}

void mapping_table::mark_settling(cache_block block, bool is_so) {
  require(!is_so || is_dirty(block), "only a dirty block can settle");
  set(block, settling, is_so);
}

void mapping_table::mark_to_be_noted(cache_block block) {
  require(is_mapped(block), "only what is mapped has a dirty bit");
  set(block, to_be_noted, true);
}

void mapping_table::mark_noted(cache_block block) {
  require(is_mapped(block), "only what is mapped has a dirty bit");
  set(block, noted | recent, true);
  set(block, to_be_noted, false);
}

void mapping_table::forget_note(cache_block block) {
  require(!is_dirty(block), "what is dirty is noted");
  set(block, noted, false);
}

void mapping_table::mark_recent(cache_block block, bool is_so) {
  set(block, recent, is_so);
}

} // namespace dmcache
