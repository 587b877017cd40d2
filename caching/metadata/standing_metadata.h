// Metadata that stand where others are to be written.
#pragma once

#include <optional>

#include "base/device.h"
#include "base/progress.h"
#include "base/result.h"
#include "persistent-data/block_usage.h"

namespace dmcache {

// Which blocks the metadata on `on` use, by their trees or by their space map; nothing if there are
// none, as their superblock is not valid, or if they are too damaged to tell. They are durable
// then: whatever they don't use can be written to, and whenever that is interrupted, also by a power
// cut, they mean what they meant. Fails with failure::environment.
result<std::optional<block_usage>> blocks_in_force(device &on, progress &watcher);

} // namespace dmcache
