#include "persistent-data/builder.h"

#include <algorithm>
#include <cstring>

#include "base/assert.h"
#include "persistent-data/btree_node.h"
#include "persistent-data/validator.h"

namespace dmcache {
namespace {

metadata_block write_node(block_writer &out, std::uint32_t flags, std::size_t value_size,
                          std::span<const btree_entries::value_type> entries) {
  const auto [where, data] = out.add();
  std::ranges::fill(data, std::byte{});
  writable_btree_node node{data};
  node.clear(flags, value_size);
  for (const auto &[key, value] : entries) {
    node.append(key, value);
  }
  seal(btree_node_type, where, data);
  return where;
}

// One level of a tree: the first key and the block of each of its nodes.
btree_entries write_level(block_writer &out, std::uint32_t flags, std::size_t value_size,
                          std::span<const btree_entries::value_type> entries) {
  const std::uint64_t nr_nodes =
      std::max<std::uint64_t>(divided_up(entries.size(), btree_max_entries(value_size)), 1);
  btree_entries nodes;
  for (std::uint64_t i = 0; i < nr_nodes; ++i) {
    const std::size_t begin = entries.size() * i / nr_nodes;
    const std::size_t end = entries.size() * (i + 1) / nr_nodes;
    const auto block = write_node(out, flags, value_size, entries.subspan(begin, end - begin));
    nodes.emplace_back(begin < end ? entries[begin].first : 0, block.value());
  }
  return nodes;
}

std::uint64_t blocks_of_btree(std::uint64_t nr_entries) {
  std::uint64_t blocks = 0;
  std::uint64_t level = nr_entries;
  do {
    level = std::max<std::uint64_t>(divided_up(level, btree_max_entries(sizeof(le64))), 1);
    blocks += level;
  } while (level > 1);
  return blocks;
}

} // namespace

metadata_block build_btree(block_writer &out, std::size_t value_size, btree_entries entries) {
  entries = write_level(out, btree_node_header::leaf, value_size, entries);
  while (entries.size() > 1) {
    entries = write_level(out, btree_node_header::internal, sizeof(le64), entries);
  }
  return metadata_block{entries.front().second};
}

metadata_block build_array(block_writer &out, std::size_t value_size, std::uint64_t nr_entries,
                           const fill_entries &fill) {
  const std::uint32_t max_entries = array_max_entries(value_size);
  btree_entries blocks;
  for (std::uint64_t first = 0; first < nr_entries && !out.has_failed(); first += max_entries) {
    const auto count = std::min<std::uint64_t>(max_entries, nr_entries - first);
    const auto [where, data] = out.add();
    const array_block_header header{.checksum = {},
                                    .max_entries = max_entries,
                                    .nr_entries = static_cast<std::uint32_t>(count),
                                    .value_size = static_cast<std::uint32_t>(value_size),
                                    .block_number = {}};
    std::memcpy(data.data(), &header, sizeof header);
    const auto values = data.subspan(sizeof header);
    fill(first, values.first(count * value_size));
    std::ranges::fill(values.subspan(count * value_size), std::byte{});
    seal(array_block_type, where, data);
    blocks.emplace_back(blocks.size(), where.value());
  }
  return build_btree(out, sizeof(le64), std::move(blocks));
}

std::uint64_t blocks_of_array(std::size_t value_size, std::uint64_t nr_entries) {
  const std::uint64_t blocks = divided_up(nr_entries, array_max_entries(value_size));
  return blocks + blocks_of_btree(blocks);
}

space_map_root build_space_map(block_writer &out, std::uint64_t nr_blocks,
                               const std::function<bool(std::uint64_t block)> &is_used) {
  require(nr_blocks <= max_metadata_blocks, "the index has no room for more");
  const std::uint64_t own_begin = out.next().value();
  const std::uint64_t own_end = own_begin + blocks_of_space_map(nr_blocks);
  std::uint64_t nr_allocated = 0;
  space_map_index index{};
  for (std::uint64_t first = 0; first < nr_blocks; first += blocks_per_bitmap) {
    const auto [where, data] = out.add();
    space_map_bitmap bitmap{};
    std::uint32_t nr_free = blocks_per_bitmap; // as the kernel does, beyond the device's end too
    std::uint32_t none_free_before = blocks_per_bitmap;
    for (std::uint64_t block = first; block < first + blocks_per_bitmap; ++block) {
      const bool is_own = block >= own_begin && block < own_end;
      if (block < nr_blocks && (is_own || is_used(block))) {
        bitmap.count_first(block - first);
        --nr_free;
      } else if (none_free_before == blocks_per_bitmap) {
        none_free_before = static_cast<std::uint32_t>(block - first);
      }
    }
    std::memcpy(data.data(), &bitmap, sizeof bitmap);
    seal(space_map_bitmap_type, where, data);
    index.entries.at(first / blocks_per_bitmap) = {where.value(), nr_free, none_free_before};
    nr_allocated += blocks_per_bitmap - nr_free;
  }
  const metadata_block ref_counts = build_btree(out, sizeof(le32), {});
  const auto [where, data] = out.add();
  std::memcpy(data.data(), &index, sizeof index);
  seal(space_map_index_type, where, data);
  require(out.next().value() == own_end, "all blocks of the space map are counted");
  return {.nr_blocks = nr_blocks,
          .nr_allocated = nr_allocated,
          .bitmap_root = where.value(),
          .ref_count_root = ref_counts.value()};
}

std::uint64_t blocks_of_space_map(std::uint64_t nr_blocks) {
  return divided_up(nr_blocks, blocks_per_bitmap) + 2; // index, count tree
}

} // namespace dmcache
