// Which blocks a space map counts as used. format.md: "Space map".
#pragma once

#include <optional>
#include <vector>

#include "base/device.h"
#include "persistent-data/block_stream.h"
#include "persistent-data/format.h"

namespace dmcache {

// Says of each block that the bitmaps cover whether it is used. Nothing if the index block or any
// bitmap can't be believed.
std::optional<std::vector<bool>>
read_used_blocks(device &from, metadata_block index,
                 const read_failure_handler &failed = ignore_read_failures);

} // namespace dmcache
