// How large a cache should be, for people.
#pragma once

#include <string>

#include "caching/sizing/size_advisor.h"

namespace dmcache {

// A few lines of text: what was seen, what caches of other sizes would make of it, and what follows.
std::string readable_advice(const size_advice &advice);

} // namespace dmcache
