// What can be known of a cache before it is served.
#pragma once

#include "base/result.h"
#include "caching/engine/cache_state.h"
#include "caching/runtime/cache_files.h"

namespace dmcache {

// Rehearses the activation of the cache on the three devices, and writes to none of them: if this
// succeeds, only what happens meanwhile can be in the way. New metadata are made only where
// `options` allow it, and the whole device is zero. A failure says what is wrong and what to do.
result<> check_before_serving(const cache_paths &paths, const engine_options &options);

} // namespace dmcache
