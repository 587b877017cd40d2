#include "caching/simulation/shortage.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <exception>

#include <fmt/format.h>

#include "base/assert.h"
#include "base/testing/failing_allocation.h"

namespace dmcache {
namespace {

constexpr int exit_code_of_terminate = 77;

} // namespace

shortage_outcome try_event(const std::function<void()> &event, std::uint64_t nr_allocations) {
  const pid_t process = ::fork();
  require(process >= 0, "a process can be made in which an event is tried");
  if (process == 0) {
    std::set_terminate([] { ::_exit(exit_code_of_terminate); });
    fail_allocation_after(nr_allocations);
    event();
    ::_exit(0);
  }
  int status = 0;
  while (::waitpid(process, &status, 0) != process) {
    require(errno == EINTR, "a process that was made can be waited for");
  }
  if (WIFEXITED(status) &&
      (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == exit_code_of_terminate)) {
    return {.is_process_over = WEXITSTATUS(status) != 0, .violation = {}};
  }
  return {.is_process_over = true,
          .violation =
              fmt::format("an event in which an allocation fails ended with status {:#x}", status)};
}

} // namespace dmcache
