#include "caching/metadata/standing_metadata.h"

#include <algorithm>

#include "caching/metadata/metadata_reader.h"
#include "persistent-data/space_map_reader.h"

namespace dmcache {

result<std::optional<block_usage>> blocks_in_force(device &on, progress &watcher) {
  const auto block = read_superblock(on);
  if (!block) {
    return {};
  }
  damage_counter ignored;
  metadata_visitor nobody;
  block_usage usage{on.size()};
  read_metadata({on, usage, ignored, watcher}, *block, {.space_map = true}, nobody);
  // What can't be reached any more through a damaged node could still be found by a search.
  const auto counted = read_used_blocks(on, metadata_block{block->space_map.bitmap_root});
  if (!counted && !usage.is_complete()) {
    return {};
  }
  const std::uint64_t end =
      counted ? std::min<std::uint64_t>(counted->size(), usage.nr_blocks()) : 0;
  for (std::uint64_t each = 0; each < end; ++each) {
    if ((*counted)[each] && !usage.is_used(each)) {
      usage.claim(metadata_block{each}, structure::space_map);
    }
  }
  // If their writer was stopped before its last flush, a power cut could still bring back older
  // ones, which may use what is free now.
  if (auto durable = commit_superblock(on, *block); !durable) {
    return std::unexpected{durable.error()};
  }
  return usage;
}

} // namespace dmcache
