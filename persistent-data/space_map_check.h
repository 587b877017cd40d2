// Compares the space map with the blocks that are in use. format.md: "Space map".
//
// A block in use whose count is too low would be overwritten: fatal. One whose count is too high is
// leaked: it wastes space. The fields derived from the counts are checked too.
#pragma once

#include "persistent-data/walk_context.h"

namespace dmcache {

// The context's usage holds all that is reachable from the superblock, but for the space map's own
// blocks, which are claimed here. If it is known to be incomplete, leaks can't be told and aren't.
void check_space_map(const walk_context &context, const space_map_root &root);

} // namespace dmcache
