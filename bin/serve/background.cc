#include "bin/serve/background.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <limits>
#include <system_error>

#include <fmt/format.h>

#include "base/file_descriptor.h"

namespace dmcache {
namespace {

// All that the parent got from whoever started it, beside the standard ones.
void close_all_but(const file_descriptor &kept) {
  const auto number = static_cast<unsigned>(kept.get());
  constexpr unsigned first = STDERR_FILENO + 1;
  if (number > first) {
    ::close_range(first, number - 1, 0);
  }
  ::close_range(number + 1, std::numeric_limits<unsigned>::max(), 0);
}

// Makes the child leave the terminal, files and folder that it shares with the parent, and then
// tells the parent through the pipe.
void leave_for_good(const file_descriptor &pipe, standard_error messages) {
  std::fflush(nullptr);
  ::setsid();
  const file_descriptor nothing{::open("/dev/null", O_RDWR | O_CLOEXEC)};
  for (const int each : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (each != STDERR_FILENO || messages == standard_error::is_left) {
      ::dup2(nothing.get(), each);
    }
  }
  // There is nothing to be done if either fails: the child serves the cache all the same.
  [[maybe_unused]] const int went = ::chdir("/");
  [[maybe_unused]] const auto told = ::write(pipe.get(), "", 1);
}

// Waits until the child has left, or has ended.
bool has_left(const file_descriptor &pipe) {
  char byte{};
  ssize_t got = 0;
  while ((got = ::read(pipe.get(), &byte, 1)) < 0 && errno == EINTR) {
  }
  return got == 1;
}

result<int> end_of(pid_t process) {
  int status = 0;
  while (::waitpid(process, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFSIGNALED(status)) {
    return fail(
        failure::failed,
        fmt::format("the process in the background was killed by signal {}", WTERMSIG(status)));
  }
  return WEXITSTATUS(status);
}

} // namespace

result<int> run_in_background(
    const std::function<int(const std::function<void(standard_error)> &leave)> &work) {
  std::array<int, 2> ends{};
  std::fflush(nullptr);
  const bool has_pipe = ::pipe2(ends.data(), O_CLOEXEC) == 0;
  const pid_t made = has_pipe ? ::fork() : -1;
  if (made < 0) {
    return fail(failure::environment,
                fmt::format("cannot go into the background: {}",
                            std::error_code{errno, std::generic_category()}.message()));
  }
  const file_descriptor here{ends[0]};
  file_descriptor there{ends[1]};
  if (made == 0) {
    close_all_but(there);
    const int code = work([&](standard_error messages) { leave_for_good(there, messages); });
    std::fflush(nullptr);
    ::_exit(code);
  }
  there = file_descriptor{};
  return has_left(here) ? result<int>{0} : end_of(made);
}

} // namespace dmcache
