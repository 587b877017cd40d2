#include "caching/tools/writeback_plan.h"

#include <algorithm>

namespace dmcache {

writeback_plan plan_writeback(const cache_contents &contents, const writeback_choice &chosen) {
  const superblock &block = contents.described();
  const std::uint64_t size = to_bytes(sectors{block.data_block_size}).value();
  const auto is_excluded = [&](cache_block at) {
    return std::ranges::any_of(chosen.excluded, [&](const cache_block_range &each) {
      return each.begin <= at && at < each.end;
    });
  };
  const auto is_unreadable = [&](cache_block at) {
    const std::uint64_t begin = chosen.fast_begin.value() + at.value() * size;
    return chosen.fast_map != nullptr &&
           !chosen.fast_map->is_rescued(bytes{begin}, bytes{begin + size});
  };
  writeback_plan plan;
  for (const cache_contents::location &each : contents.dirty_blocks()) {
    if (block.is_clean() && contents.is_discarded(each.origin)) {
      plan.discarded.push_back(each.cached_in);
    } else if (is_excluded(each.cached_in)) {
      plan.excluded.push_back(each.cached_in);
    } else if (is_unreadable(each.cached_in)) {
      plan.unreadable.push_back(each.cached_in);
    } else {
      plan.to_copy.push_back(each);
    }
  }
  std::ranges::sort(plan.to_copy);
  return plan;
}

} // namespace dmcache
