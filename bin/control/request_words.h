// Requests to a cache as words.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace dmcache {

// What the server says to a request that it doesn't know.
inline constexpr std::string_view all_requests =
    "requests are: status, advise, explain BYTE, record, message WORD..., set mode MODE, set "
    "policy NAME [KEY VALUE]..., set cleaning TRIGGER, set max-dirty LIMIT, clean, verify "
    "[clear-equal] [drop-stale] [force-differing], resize, stop [clean]";

// The words of a line. Fails with failure::usage if it has other characters than printable ones.
result<std::vector<std::string>> words_of(std::string_view line);

} // namespace dmcache
