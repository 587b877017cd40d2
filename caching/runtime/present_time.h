// The clock that the engine's time is read from.
#pragma once

#include <chrono>

#include "caching/engine/instant.h"

namespace dmcache {

// It is never set back, and stands still while the machine sleeps.
inline instant present_time() {
  return std::chrono::steady_clock::now().time_since_epoch();
}

} // namespace dmcache
