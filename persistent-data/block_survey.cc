#include "persistent-data/block_survey.h"

#include <algorithm>
#include <cstring>

namespace dmcache {
namespace {

// As the header says, unless that is impossible.
surveyed_block with_entries(block_kind kind, std::uint32_t value_size, std::uint32_t nr_entries,
                            std::uint32_t (*max_entries)(std::size_t)) {
  if ((value_size != sizeof(le32) && value_size != sizeof(le64)) ||
      nr_entries > max_entries(value_size)) {
    return {.kind = kind};
  }
  return {kind, static_cast<std::uint8_t>(value_size), static_cast<std::uint16_t>(nr_entries)};
}

surveyed_block node(block_view block) {
  btree_node_header header;
  std::memcpy(&header, block.data(), sizeof header);
  const bool is_leaf = header.flags == btree_node_header::leaf;
  return with_entries(is_leaf ? block_kind::leaf_node : block_kind::internal_node,
                      header.value_size, header.nr_entries, btree_max_entries);
}

surveyed_block array_block(block_view block) {
  array_block_header header;
  std::memcpy(&header, block.data(), sizeof header);
  return with_entries(block_kind::array_block, header.value_size, header.nr_entries,
                      array_max_entries);
}

std::uint64_t nr_usable_blocks(const device &on) {
  return std::min(on.size().value() / metadata_block_size, max_metadata_blocks);
}

surveyed_block identify(metadata_block where, block_view block) {
  const auto is = [&](const block_type &type) { return fault_of(type, where, block) == nullptr; };
  if (is(array_block_type)) {
    return array_block(block);
  }
  if (is(btree_node_type)) {
    return node(block);
  }
  if (is(space_map_bitmap_type)) {
    return {.kind = block_kind::space_map_bitmap};
  }
  return {.kind = is(space_map_index_type) ? block_kind::space_map_index : block_kind::unknown};
}

} // namespace

std::vector<metadata_block> blocks_outside_holes(const device &from) {
  constexpr std::uint64_t stretch = 256; // blocks that are looked at, or not, together
  const std::uint64_t nr_blocks = nr_usable_blocks(from);
  std::vector<metadata_block> found;
  for (std::uint64_t begin = 0; begin < nr_blocks;) {
    const std::uint64_t data =
        from.next_data(offset_of(metadata_block{begin})).value() / metadata_block_size;
    if (data >= begin + stretch) {
      begin = data;
      continue;
    }
    for (const std::uint64_t end = std::min(begin + stretch, nr_blocks); begin < end; ++begin) {
      found.emplace_back(begin);
    }
  }
  return found;
}

block_survey survey_blocks(device &from, progress &watcher, const read_failure_handler &failed) {
  block_survey survey(nr_usable_blocks(from));
  const auto wanted = blocks_outside_holes(from);
  watcher.begin("searching", wanted.size());
  block_stream blocks{from, wanted.size(), [&](std::size_t i) { return wanted[i]; }};
  while (const auto block = blocks.next()) {
    watcher.advance(1);
    if (block->error) {
      failed(block->where, block->error);
    } else {
      survey[block->where.value()] = identify(block->where, block->data);
    }
  }
  return survey;
}

} // namespace dmcache
