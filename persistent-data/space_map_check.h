// Compares the space map with the blocks that are in use. format.md: "Space map".
//
// A block in use whose count is too low would be overwritten: fatal. One whose count is too high is
// leaked: it wastes space. The fields derived from the counts are checked too.
#pragma once

#include "persistent-data/walk_context.h"

namespace dmcache {

// Requires that the context's usage holds all blocks that the superblock leads to, but for the
// space map's own, which are claimed here. Where it is known to be incomplete, leaks are not
// reported, as they can't be told from blocks in use.
void check_space_map(const walk_context &context, const space_map_root &root);

} // namespace dmcache
