// How much may be dirty, as users write it.
#pragma once

#include <string>

#include "base/result.h"
#include "caching/engine/options.h"

namespace dmcache {

// "10g", "25%": a size, of whole sectors, or a percentage of the cache. Fails with failure::usage.
result<dirty_limit> dirty_limit_of(const std::string &text);

} // namespace dmcache
