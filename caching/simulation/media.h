// What a stopped cache has left on its devices.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/testing/simulated_device.h"
#include "caching/metadata/metadata_reader.h"
#include "caching/metadata/superblock.h"

namespace dmcache {

struct media_contents {
  bool is_formatted = false; // else all that follows is empty
  superblock block{};
  std::vector<mapping> mappings;    // truly dirty or clean
  std::vector<std::uint32_t> hints; // by cache block
  std::vector<key_range> discards;  // stored ones

  bool is_clean() const { return !is_formatted || block.is_clean(); }
  // A mapped block, by its origin block.
  const mapping *find(origin_block block) const;
};

// Reads what stands on the metadata device. Fails if `check` finds anything wrong with it, and says
// so on standard error if it is to be `loud`.
result<media_contents> read_media(simulated_device &metadata, bool loud);

// Clears NEEDS_CHECK, as cache_check --clear-needs-check-flag does.
result<> mend_media(simulated_device &metadata);

} // namespace dmcache
