// Whether metadata can be made on a device without costing anybody a cache.
#pragma once

#include <string>

#include "base/device.h"
#include "base/result.h"

namespace dmcache {

// Fails where the first block is zero, which counts as a new device, and another one is not: there
// may have been a cache, which could be repaired. `path` is for the text.
result<> check_that_no_cache_is_lost(device &metadata, const std::string &path);

// "overwrite it: dd ...", which is said of a device that can be done without.
std::string how_to_overwrite(const device &metadata, const std::string &path);

} // namespace dmcache
