// A trace that is made up.
#pragma once

#include <cstdint>

#include "caching/replay/trace.h"

namespace dmcache {

// Makes up an hour of requests: to a set of hot blocks, some of them far hotter than others, which
// changes all the time; scans; and pauses. The same seed gives the same trace on every machine.
trace generate_trace(std::uint64_t seed);

} // namespace dmcache
