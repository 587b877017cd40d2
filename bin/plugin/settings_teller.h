// Tells the process that started this one which settings of the cache are in force, so that it can
// serve the cache with them if this process dies.
#pragma once

#include "base/file_descriptor.h"
#include "base/mutex.h"
#include "caching/runtime/threaded_runtime.h"

namespace dmcache {

class settings_teller {
 public:
  // `to` is the end of a pipe, or not open if nobody wants to know.
  explicit settings_teller(file_descriptor to);

  // Tells the settings in force, as a line (settings_line.h). When it returns, they are told
  // whatever becomes of this process. It never waits for the reader: it fails if that has fallen far
  // behind, or is gone. For any thread.
  result<> tell(threaded_runtime &of) EXCLUDES(telling_);

 private:
  mutex telling_; // lest older settings are told after newer ones
  file_descriptor to_;
};

} // namespace dmcache
