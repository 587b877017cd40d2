// Finds out before a cache is served whether it can be.
#pragma once

#include "base/result.h"
#include "caching/engine/options.h"
#include "caching/engine/status.h"
#include "caching/runtime/cache_files.h"

namespace dmcache {

// Rehearses the activation of the cache on the three devices, and writes to none of them. If this
// succeeds, the activation can fail only because of something that happens in between. New metadata
// are accepted only if `options` allow them and the whole metadata device is zero. A failure says
// what is wrong and what to do. The value is the status that the cache will have.
result<engine_status> check_before_serving(const cache_paths &paths, const engine_options &options);

} // namespace dmcache
