// The addresses at which cache_serve serves a cache and is controlled.
#pragma once

#include <string>

#include "base/result.h"
#include "bin/command.h"
#include "bin/serve/nbdkit_server.h"

namespace dmcache {

// The path as seen from any folder; "" stays as it is.
std::string absolute(const std::string &path);

// Takes the options about addresses, and chooses those that none gives. Requires that the other
// options are taken. Fails with failure::usage, or failure::environment if something that is named
// isn't there.
result<> take_addresses(const command_line &line, serve_options &options);

// Removes sockets whose servers are dead. Fails with failure::environment if another server is at
// these addresses, or clients could not be let in.
result<> check_addresses(const serve_options &options);

} // namespace dmcache
