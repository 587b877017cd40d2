// The status of a running cache, for Prometheus.
#pragma once

#include <string>
#include <string_view>

#include "caching/engine/status.h"

namespace dmcache {

// The text is OpenMetrics 1.0. Each sample has the label `cache`.
std::string metrics_text(const engine_status &status, std::string_view cache);

} // namespace dmcache
