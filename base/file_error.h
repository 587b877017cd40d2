// What a system call that failed with a file says to the user.
#pragma once

#include <string>
#include <system_error>

#include <fmt/format.h>

#include "base/result.h"

namespace dmcache {

// "cannot write to /the/path: No space left on device", as failure::environment; `reason` is an errno.
inline std::unexpected<error> cannot(const char *attempt, const std::string &path, int reason) {
  return fail(failure::environment, fmt::format("cannot {} {}: {}", attempt, path,
                                                std::generic_category().message(reason)));
}

} // namespace dmcache
