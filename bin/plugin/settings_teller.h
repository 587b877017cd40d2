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
  // The same before, and after, the cache takes up devices that have grown. In between, whoever serves
  // it if this process dies is told to accept other sizes than it had.
  result<> tell_before_resizing(threaded_runtime &of) EXCLUDES(telling_);
  result<> tell_after_resizing(threaded_runtime &of) EXCLUDES(telling_);

 private:
  result<> tell_now(threaded_runtime &of) REQUIRES(telling_);

  mutex telling_; // lest older settings are told after newer ones
  bool is_resizing_ GUARDED_BY(telling_) = false;
  file_descriptor to_;
};

} // namespace dmcache
