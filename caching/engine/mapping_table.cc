#include "caching/engine/mapping_table.h"

#include <algorithm>

namespace dmcache {
namespace {

constexpr unsigned bits_of_hash = 64;

// Log of the number of chains: about one for each two cache blocks.
unsigned log_of_heads(std::uint64_t nr_cache_blocks) {
  return std::max(4U, static_cast<unsigned>(std::bit_width(nr_cache_blocks / 2)));
}

} // namespace

mapping_table::mapping_table(std::uint64_t nr_cache_blocks)
    : entries_{nr_cache_blocks}, next_{nr_cache_blocks},
      shift_{bits_of_hash - log_of_heads(nr_cache_blocks)}, heads_{std::size_t{1}
                                                                   << (bits_of_hash - shift_)} {
  require(nr_cache_blocks <= max_cache_blocks, "no more cache blocks than can be counted");
}

void mapping_table::map(cache_block block, origin_block to) {
  require(!is_mapped(block), "a cache block holds one origin block");
  require(to.value() < max_origin_blocks, "the number of an origin block fits 48 bits");
  entries_[block.value()] = to.value() << flag_bits | mapped;
  std::uint32_t &head = heads_[head_of(to)];
  next_[block.value()] = head;
  head = static_cast<std::uint32_t>(block.value() + 1);
  ++nr_mapped_;
  ++revision_;
}

void mapping_table::unmap(cache_block block) {
  require(is_mapped(block), "only what is mapped can be unmapped");
  mark_clean(block);
  const auto link = static_cast<std::uint32_t>(block.value() + 1);
  std::uint32_t *at = &heads_[head_of(origin_of(block))];
  while (*at != link) {
    require(*at != 0, "a mapped block is in the chain of its hash");
    at = &next_[*at - 1];
  }
  *at = next_[block.value()];
  entries_[block.value()] = 0;
  --nr_mapped_;
  ++revision_;
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

void mapping_table::mark_settling(cache_block block, bool is_so) {
  require(!is_so || is_dirty(block), "only a dirty block can settle");
  entries_[block.value()] =
      is_so ? entries_[block.value()] | settling : entries_[block.value()] & ~settling;
}

} // namespace dmcache
