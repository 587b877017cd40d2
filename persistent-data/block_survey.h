// What each block of a device seems to be, judged by its own contents alone: for finding what
// nothing leads to any more.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/device.h"
#include "base/progress.h"
#include "base/units.h"
#include "persistent-data/block_stream.h"

namespace dmcache {

enum class block_kind : std::uint8_t {
  unknown, // unreadable, never written, or without a checksum of any kind below
  leaf_node,
  internal_node,
  array_block,
  space_map_index,
  space_map_bitmap,
};

struct surveyed_block {
  block_kind kind = block_kind::unknown;
  std::uint8_t value_size = 0;  // of nodes and array blocks; 0 if it, or nr_entries, is impossible
  std::uint16_t nr_entries = 0; // of the same; as many fit into the block

  bool is_array_block_of(std::size_t size_of_value) const {
    return kind == block_kind::array_block && value_size == size_of_value;
  }
};

// One for each block of the device; it takes four bytes of memory.
using block_survey = std::vector<surveyed_block>;

// The blocks of the device, up to the max_metadata_blocks that the format can use, but for long
// stretches that are holes.
std::vector<metadata_block> blocks_outside_holes(const device &from);

block_survey survey_blocks(device &from, progress &watcher,
                           const read_failure_handler &failed = ignore_read_failures);

} // namespace dmcache
