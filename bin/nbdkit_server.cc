#include "bin/nbdkit_server.h"

#include <poll.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <system_error>

#include <fmt/format.h>

#include "base/file_descriptor.h"
#include "bin/nbd_greeting.h"
#include "bin/service_manager.h"
#include "caching/tools/metadata_device.h"

namespace dmcache {
namespace {

constexpr std::chrono::milliseconds between_looks{50};

// A folder for a moment.
class temporary_folder {
 public:
  temporary_folder() {
    std::error_code failed;
    const auto parent = std::filesystem::temp_directory_path(failed);
    std::string name = (failed ? std::filesystem::path{"/tmp"} : parent) / "cache_serve.XXXXXX";
    if (::mkdtemp(name.data()) != nullptr) {
      path_ = name;
    }
  }
  temporary_folder(const temporary_folder &) = delete;
  temporary_folder &operator=(const temporary_folder &) = delete;
  ~temporary_folder() {
    std::error_code ignored;
    if (!path_.empty()) {
      std::filesystem::remove_all(path_, ignored);
    }
  }

  const std::filesystem::path &path() const { return path_; } // empty: none could be made

 private:
  std::filesystem::path path_;
};

// Signals that this process takes note of, instead of ending by them.
class held_signals {
 public:
  held_signals() {
    ::sigemptyset(&set_);
    for (const int each : {SIGTERM, SIGINT, SIGHUP, SIGCHLD}) {
      ::sigaddset(&set_, each);
    }
    ::sigprocmask(SIG_BLOCK, &set_, &before_);
  }
  held_signals(const held_signals &) = delete;
  held_signals &operator=(const held_signals &) = delete;
  ~held_signals() { ::sigprocmask(SIG_SETMASK, &before_, nullptr); }

  // One that has come, or, after so long, 0.
  int next(std::chrono::milliseconds within) const {
    const timespec patience{0, std::chrono::nanoseconds{within}.count()};
    const int got = ::sigtimedwait(&set_, nullptr, &patience);
    return got < 0 ? 0 : got;
  }

 private:
  sigset_t set_{};
  sigset_t before_{};
};

result<pid_t> spawn(std::vector<std::string> command) {
  std::vector<char *> arguments;
  for (std::string &each : command) {
    arguments.push_back(each.data());
  }
  arguments.push_back(nullptr);
  // As if a shell had started it: nothing held back, and SIGPIPE, which is ignored here, kills.
  sigset_t none{};
  sigset_t defaults{};
  ::sigemptyset(&none);
  ::sigemptyset(&defaults);
  ::sigaddset(&defaults, SIGPIPE);
  posix_spawnattr_t how{};
  ::posix_spawnattr_init(&how);
  ::posix_spawnattr_setsigmask(&how, &none);
  ::posix_spawnattr_setsigdefault(&how, &defaults);
  ::posix_spawnattr_setflags(&how, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  pid_t made = 0;
  const int failed =
      ::posix_spawn(&made, command.front().c_str(), nullptr, &how, arguments.data(), environ);
  ::posix_spawnattr_destroy(&how);
  if (failed != 0) {
    return fail(failure::environment,
                fmt::format("cannot run {}: {}", command.front(),
                            std::error_code{failed, std::generic_category()}.message()));
  }
  return made;
}

std::unexpected<error> refused_by_nbdkit() {
  return fail(failure::failed, "nbdkit could not serve the cache: it says why above");
}

// Of a process that isn't a child. None, if it has ended.
file_descriptor watch_process(pid_t which) {
  return file_descriptor{static_cast<int>(::syscall(SYS_pidfd_open, which, 0))};
}

bool has_ended(const file_descriptor &process) {
  pollfd events{process.get(), POLLIN, 0};
  return !process.is_open() || ::poll(&events, 1, 0) == 1;
}

result<int> start_in_background(std::vector<std::string> command, const serve_options &options,
                                report &to) {
  const temporary_folder folder;
  if (folder.path().empty()) {
    return fail(failure::environment, "no temporary folder can be made: see TMPDIR");
  }
  const std::filesystem::path pid_file = folder.path() / "pid";
  command.insert(command.begin() + 1, {"--pidfile", pid_file.string()});
  const auto child = spawn(std::move(command));
  if (!child) {
    return std::unexpected{child.error()};
  }
  int status = 0; // of the process that forks
  while (::waitpid(*child, &status, 0) < 0 && errno == EINTR) {
  }
  if (status != 0) {
    return refused_by_nbdkit();
  }
  pid_t server = 0;
  nbd_greeting greeting{options.port, options.socket};
  file_descriptor process;
  while (!greeting.has_come(between_looks)) {
    if (server == 0 && (std::ifstream{pid_file} >> server)) {
      process = watch_process(server);
    }
    if (server != 0 && has_ended(process)) {
      return fail(failure::failed, "nbdkit ended while it started: the system's log says why");
    }
  }
  to.answer(uri_of(options));
  return 0;
}

// Whatever the server said of it, the metadata tell whether the shutdown was clean.
result<> check_clean_shutdown(const serve_options &options) {
  if (options.engine.read_only) {
    return {};
  }
  const auto metadata = open_metadata(options.paths.metadata);
  if (!metadata) {
    return std::unexpected{metadata.error()};
  }
  if (!metadata->block.is_clean()) {
    return fail(failure::failed, "the cache was not cleanly shut down, all that is cached counts "
                                 "as dirty: nbdkit says why above");
  }
  return {};
}

void tell_ready(const serve_options &options, report &to) {
  to.answer(uri_of(options));
  std::fflush(stdout); // it may be a pipe, at whose other end somebody waits for this
  notify_service_manager(fmt::format("READY=1\nSTATUS=serving {}", uri_of(options)));
}

result<int> supervise(std::vector<std::string> command, const serve_options &options, report &to) {
  const held_signals signals;
  const auto child = spawn(std::move(command));
  if (!child) {
    return std::unexpected{child.error()};
  }
  nbd_greeting greeting{options.port, options.socket};
  const bool is_captive = !options.run.empty(); // of the command: it needs nobody to tell it
  bool is_ready = is_captive;
  int status = 0;
  while (::waitpid(*child, &status, WNOHANG) == 0) {
    if (!is_ready && greeting.has_come(between_looks)) {
      is_ready = true;
      tell_ready(options, to);
    }
    constexpr std::chrono::milliseconds between_checks{500};
    const int signal = signals.next(is_ready ? between_checks : std::chrono::milliseconds{0});
    if (signal != 0 && signal != SIGCHLD) {
      ::kill(*child, SIGTERM);
    }
  }
  if (WIFSIGNALED(status)) {
    return fail(failure::failed, fmt::format("nbdkit was killed by signal {}: all that is cached "
                                             "counts as dirty",
                                             WTERMSIG(status)));
  }
  if (!is_ready || (!is_captive && WEXITSTATUS(status) != 0)) {
    return refused_by_nbdkit();
  }
  if (const auto checked = check_clean_shutdown(options); !checked) {
    return std::unexpected{checked.error()};
  }
  return WEXITSTATUS(status);
}

} // namespace

result<int> run_nbdkit(std::vector<std::string> command, const serve_options &options, report &to) {
  return options.foreground || !options.run.empty()
             ? supervise(std::move(command), options, to)
             : start_in_background(std::move(command), options, to);
}

} // namespace dmcache
