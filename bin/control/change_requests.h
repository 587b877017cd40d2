// The requests by which a client of the control socket changes what a cache does.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "caching/runtime/threaded_runtime.h"

namespace dmcache {

// What makes the change, and takes time. None if these words are another request; fails with
// failure::usage if they name no such mode, or a policy's settings not in pairs.
std::optional<result<std::function<result<>()>>> change_for(threaded_runtime &of,
                                                            std::vector<std::string> words);

} // namespace dmcache
