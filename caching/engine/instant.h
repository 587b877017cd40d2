// The engine's time.
#pragma once

#include <chrono>

namespace dmcache {

// A point in time, since any fixed one: the engine knows no clock, and is told.
using instant = std::chrono::nanoseconds;

} // namespace dmcache
