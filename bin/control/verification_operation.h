// A verification as an operation of the control server: what its client is told, and when it ends.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "bin/control/connected_client.h"
#include "caching/runtime/cache_verification.h"

namespace dmcache {

// Of the words after "verify". None if one of them is unknown.
std::optional<verification_options> verification_options_of(std::span<const std::string> words);

// Gives what is to be done in the background, and has `made` tell its client what is found. It ends
// when the client is gone, since nobody would hear of it.
std::function<result<>()> verification_for(operation &made, threaded_runtime &of,
                                           const verification_options &how);

} // namespace dmcache
