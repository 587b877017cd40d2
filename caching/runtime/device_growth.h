// What of a cache's devices has grown while the cache is served, and whether it can take that up.
#pragma once

#include <string>

#include "base/result.h"
#include "caching/engine/status.h"
#include "caching/runtime/blocking_files.h"
#include "caching/runtime/cache_files.h"
#include "caching/runtime/opened_cache.h"

namespace dmcache {

struct device_growth {
  bool is_any = false;
  std::string in_words; // what has grown, or that nothing has
};

// `measured` are the devices as they are by now, and `now` says what the cache makes of those that
// it has open. Fails if a device is smaller than it was, or there is no room in the metadata for so
// many cache blocks, or they can't be written.
result<device_growth> growth_of(const cache_paths &paths, const blocking_files &served,
                                const opened_cache &measured, const engine_status &now);

} // namespace dmcache
