// One block of the mapping array by itself, for searches that no tree leads.
#pragma once

#include <vector>

#include "base/device.h"
#include "caching/metadata/mapping_format.h"
#include "persistent-data/validator.h"

namespace dmcache {

// The entries that an array block of mappings, whose checksum must have been verified, says it has, but
// no more than fit into it.
std::vector<mapping_entry> mapping_entries_in(block_view block);

// The same of the block at `where`; none if it can't be read.
std::vector<mapping_entry> read_mapping_block(device &from, metadata_block where);

} // namespace dmcache
