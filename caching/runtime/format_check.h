// Checks that making new metadata on a device costs nobody a cache.
#pragma once

#include <string>

#include "base/device.h"
#include "base/device_part.h"
#include "base/result.h"

namespace dmcache {

// Fails if the first block is zero, which makes a device count as new, but another block is not.
// Then there may have been a cache, which could be repaired. `part` is for the text of the failure.
result<> check_that_no_cache_is_lost(device &metadata, const device_part &part);

// The advice "overwrite it: dd ...", for somebody who doesn't need what the device holds.
std::string how_to_overwrite(const device &metadata, const device_part &part);

} // namespace dmcache
