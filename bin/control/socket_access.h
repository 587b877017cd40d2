// Who can connect to a unix socket that has a path in the file system.
//
// The mode of the socket's file decides: Linux lets those connect who may write to it.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <optional>
#include <string>

#include "base/result.h"

namespace dmcache {

struct socket_access {
  mode_t mode = S_IRUSR | S_IWUSR;
  std::optional<gid_t> group = {}; // of the file; without one it has that of the process
};

// Takes the text of an octal mode. `option` is what messages call it. Fails with failure::usage if it
// is none, or keeps out the owner, who has to see whether his server is alive.
result<mode_t> parse_socket_mode(const std::string &option, const std::string &text);

// The group of this name or number. Fails with failure::environment if there is none.
result<gid_t> find_group(const std::string &name);

// Fails with failure::environment if this process can't give files to the group.
result<> check_that_it_can_be_given_to(gid_t group);

// Gives the socket at `path`, which this process or a child of it has made, its group and mode.
// Requires that the mode that it has keeps out all but its owner: the group comes first, so that no
// other group gets in meanwhile. Never follows a link. Fails with failure::environment.
result<> give_access(const std::string &path, const socket_access &access);

} // namespace dmcache
