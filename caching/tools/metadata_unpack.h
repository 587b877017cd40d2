// cache_metadata_unpack: makes a pack the metadata of a device again. metadata_pack.h: its format.
#pragma once

#include <functional>
#include <vector>

#include "base/device.h"
#include "base/progress.h"
#include "caching/tools/xml_reader.h"

namespace dmcache {

// Begins to read the pack anew, from its beginning.
using open_text = std::function<result<read_text>()>;

struct verified_pack {
  bytes size;              // of the device that was packed
  std::vector<bool> holds; // whether a block is in the pack; none beyond the end is
};

// Verifies all of a pack. Fails with failure::failed if it is truncated or altered.
result<verified_pack> verify_pack(const open_text &open);

// Writes the blocks of a pack, which was found to be `pack`, to where they were, the superblock last.
// Metadata that stand on `to` stay in force until then if no block that they use is needed, and
// otherwise until all others are written; `to` holds none from then on. Other blocks stay as they
// are. But if the pack lacks blocks of its metadata, or its superblock, no other block is left that
// could be taken for one of them. Nothing is written to a device that is too small.
result<> unpack(const open_text &open, const verified_pack &pack, device &to, progress &watcher);

} // namespace dmcache
