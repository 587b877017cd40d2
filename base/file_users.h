// Who else uses a file or block device, as far as /proc tells this process.
#pragma once

#include <string>

namespace dmcache {

// "cache_serve, pid 28417", for the process that has the block device open, or the regular file locked;
// and what ends it, if that is a server of a cache that has a control socket. Empty if nobody is found,
// as of another user's processes.
std::string user_of(const std::string &path);

} // namespace dmcache
