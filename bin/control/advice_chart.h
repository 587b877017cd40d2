// How much caches of other sizes would hit, as a picture.
#pragma once

#include "base/svg_chart.h"
#include "caching/sizing/size_advisor.h"

namespace dmcache {

// Requires that enough was seen: `progress` is 1.
chart chart_of(const size_advice &advice);

} // namespace dmcache
