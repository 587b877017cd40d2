#include "persistent-data/block_usage.h"

#include <algorithm>

#include <fmt/format.h>

namespace dmcache {

block_usage::block_usage(bytes size)
    : users_(std::min(size.value() / metadata_block_size, max_metadata_blocks), unused) {}

std::optional<std::string> block_usage::claim(metadata_block block, structure user) {
  if (block.value() >= users_.size()) {
    return fmt::format("points to block {}, beyond the device's {} blocks", block, users_.size());
  }
  std::uint8_t &owner = users_[block.value()];
  if (owner != unused) {
    return fmt::format("points to block {}, which is in use already ({})", block,
                       name_of(static_cast<structure>(owner)));
  }
  owner = static_cast<std::uint8_t>(user);
  return {};
}

std::optional<metadata_block> block_usage::find_unused(std::uint64_t limit,
                                                       std::uint64_t count) const {
  std::uint64_t begin = 0;
  for (std::uint64_t block = 0; block < std::min<std::uint64_t>(limit, nr_blocks()); ++block) {
    if (is_used(block)) {
      begin = block + 1;
    } else if (block + 1 - begin == count) {
      return metadata_block{begin};
    }
  }
  return {};
}

} // namespace dmcache
