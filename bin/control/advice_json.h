// How large a cache should be, as JSON and back.
//
// `seen` and `missed` count touches of blocks; those of before a day count half, and so on. Miss ratios are
// shares of the reads, or writes, from 0 to 1. `sizes` and `curve` are arrays of objects.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "caching/sizing/size_advisor.h"

namespace dmcache {

// The text has no line break.
std::string to_json(const size_advice &advice);

// Fails with failure::environment if to_json() can't have made this.
result<size_advice> advice_from_json(std::string_view text);

} // namespace dmcache
