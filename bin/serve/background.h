// Goes on in the background, but not before all is well there.
#pragma once

#include <functional>

#include "base/result.h"

namespace dmcache {

// Forks, and calls `work` in the new process, which ends with the exit code that it returns.
// Returns, in this one, 0 as soon as `work` has called what it is given, or else that code: until
// then the new process has the terminal and the files of this one, and gets its signals; after that
// none of them. Requires that there is one thread. Fails with failure::environment if it can't
// fork, failure::failed if the new process was killed.
result<int> run_in_background(const std::function<int(const std::function<void()> &leave)> &work);

} // namespace dmcache
