// What a verification found, as the server tells it to cache_ctl (control_protocol.h).
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "caching/runtime/cache_verification.h"

namespace dmcache {

// A JSON object in one line.
std::string to_json(const verification_summary &summary);
// Fails with failure::environment if the text is none.
result<verification_summary> summary_from_json(std::string_view text);

} // namespace dmcache
