#include "caching/metadata/mapping_block.h"

#include <algorithm>
#include <cstring>

#include "persistent-data/block_stream.h"
#include "persistent-data/format.h"

namespace dmcache {

std::vector<mapping_entry> mapping_entries_in(block_view block) {
  array_block_header header;
  std::memcpy(&header, block.data(), sizeof header);
  std::vector<mapping_entry> entries;
  const std::uint64_t size = std::min<std::uint64_t>(header.nr_entries, mappings_per_block);
  for (std::size_t i = 0; i < size; ++i) {
    le64 stored;
    std::memcpy(&stored, block.data() + sizeof header + i * sizeof stored, sizeof stored);
    entries.push_back(mapping_entry::decode(stored));
  }
  return entries;
}

std::vector<mapping_entry> read_mapping_block(device &from, metadata_block where) {
  block_stream one{from, 1, [&](std::size_t) { return where; }};
  const auto read = one.next();
  return read->error ? std::vector<mapping_entry>{} : mapping_entries_in(read->data);
}

} // namespace dmcache
