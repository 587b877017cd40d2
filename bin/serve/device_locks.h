// Keeps the files of a cache locked from one server of it to the next.
//
// Anybody who may read a file can lock it. If the lock ended with the server, whoever waited for it
// would have it in the moment in which the server is started again, and the cache would be served no
// more. So the process that starts servers has the locks, and each of them a copy, which keeps others
// out while it lives even if that process is gone.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/file_descriptor.h"
#include "base/opened_file.h"
#include "base/result.h"
#include "caching/runtime/cache_files.h"

namespace dmcache {

class device_locks {
 public:
  // Locks those of the three that are regular files. Fails as open_file() does.
  static result<device_locks> take(const cache_paths &paths, access mode);
  device_locks() = default; // of nothing

  // The path of a device that somebody else uses; empty if there is none. Files that a server has
  // unlocked, as it does at its end, are locked again. Requires that no server runs.
  std::string in_use() const;

  // Of the files that are locked.
  std::vector<int> descriptors() const;

 private:
  std::vector<std::pair<std::string, file_descriptor>> devices_; // block devices' are not open
  access mode_ = access::read_only;
};

} // namespace dmcache
