// What every reader of a structure needs.
#pragma once

#include "base/device.h"
#include "base/progress.h"
#include "persistent-data/block_usage.h"
#include "persistent-data/damage.h"

namespace dmcache {

struct walk_context {
  device &from;
  block_usage &usage; // by all structures that are read in one go
  damage_sink &sink;
  progress &watcher;
};

// One structure among those of a device.
struct structure_kind {
  structure part;
  bool fatal; // damage in it can lose data
};

} // namespace dmcache
