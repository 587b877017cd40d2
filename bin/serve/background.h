// Forks; the parent returns once the child reports success.
#pragma once

#include <functional>

#include "base/result.h"

namespace dmcache {

// Does a process in the background go on to use it?
enum class standard_error { is_left, is_kept };

// Forks. The child calls `work`, and ends with the exit code that `work` returns. Until `work`
// calls `leave`, the child shares the parent's terminal, folder and signals; `leave` takes it into
// the background. It never shares other files than standard input, output and error: whoever waits for
// the end of a pipe or of a lock that the parent has must not wait for the child. The parent returns 0
// when `leave` was called, or, if the child ended without that, its exit code.
//
// Requires that the process has one thread. Fails with failure::environment if it can't fork, and
// with failure::failed if the child was killed.
result<int>
run_in_background(const std::function<int(const std::function<void(standard_error)> &leave)> &work);

} // namespace dmcache
