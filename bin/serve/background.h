// Forks; the parent returns once the child reports success.
#pragma once

#include <functional>

#include "base/result.h"

namespace dmcache {

// Forks. The child calls `work`, and ends with the exit code that `work` returns. Until `work`
// calls `leave`, the child shares the parent's terminal, files and signals; `leave` takes it into
// the background. The parent returns 0 when `leave` was called, or, if the child ended without
// that, its exit code.
//
// Requires that the process has one thread. Fails with failure::environment if it can't fork, and
// with failure::failed if the child was killed.
result<int> run_in_background(const std::function<int(const std::function<void()> &leave)> &work);

} // namespace dmcache
