// One block of the mapping array by itself, for searches that no tree leads.
#pragma once

#include <vector>

#include "base/device.h"
#include "caching/metadata/mapping_format.h"

namespace dmcache {

// The entries that the array block at `where`, whose checksum must have been verified, says it has,
// but no more than fit into it; none if it can't be read.
std::vector<mapping_entry> read_mapping_block(device &from, metadata_block where);

} // namespace dmcache
