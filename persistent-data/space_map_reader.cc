#include "persistent-data/space_map_reader.h"

#include <algorithm>
#include <cstring>

namespace dmcache {
namespace {

template <typename Block>
bool believe(const block_type &type, const block_stream::item &block, Block &into,
             const read_failure_handler &failed) {
  if (block.error) {
    failed(block.where, block.error);
    return false;
  }
  if (fault_of(type, block.where, block.data) != nullptr) {
    return false;
  }
  std::memcpy(&into, block.data.data(), sizeof into);
  return true;
}

} // namespace

std::optional<std::vector<bool>> read_used_blocks(device &from, metadata_block index,
                                                  const read_failure_handler &failed) {
  const std::uint64_t nr_blocks = from.size().value() / metadata_block_size;
  if (index.value() >= nr_blocks) {
    return {};
  }
  block_stream index_block{from, 1, [&](std::size_t) { return index; }};
  space_map_index found;
  if (!believe(space_map_index_type, *index_block.next(), found, failed)) {
    return {};
  }
  const auto bitmaps = std::span{found.entries}.first(
      std::min<std::size_t>(found.entries.size(), divided_up(nr_blocks, blocks_per_bitmap)));
  const auto end = std::ranges::find_if(bitmaps, [&](const space_map_index_entry &each) {
    return each.bitmap_block == 0 || each.bitmap_block >= nr_blocks;
  });
  const auto nr_bitmaps = static_cast<std::size_t>(end - bitmaps.begin());
  if (nr_bitmaps == 0) {
    return {};
  }
  std::vector<bool> used(nr_bitmaps * blocks_per_bitmap);
  block_stream blocks{from, nr_bitmaps,
                      [&](std::size_t i) { return metadata_block{bitmaps[i].bitmap_block}; }};
  space_map_bitmap bitmap;
  while (const auto block = blocks.next()) {
    if (!believe(space_map_bitmap_type, *block, bitmap, failed)) {
      return {};
    }
    for (std::uint64_t i = 0; i < blocks_per_bitmap; ++i) {
      used[block->position * blocks_per_bitmap + i] = bitmap.count(i) != 0;
    }
  }
  return used;
}

} // namespace dmcache
