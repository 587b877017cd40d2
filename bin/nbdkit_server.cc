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

result<int> start_in_background(std::vector<std::string> command,
                                const std::filesystem::path &pid_file, const serve_options &options,
                                report &to) {
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

// With the variables that nbdkit sets for such a command.
result<pid_t> spawn_client(const serve_options &options) {
  const std::string uri = uri_of(options);
  return spawn({"/usr/bin/env", "uri=" + uri, "nbd=" + uri,
                "exportname=", "port=" + (options.port ? std::to_string(*options.port) : ""),
                "unixsocket=" + options.socket, "/bin/sh", "-c", options.run});
}

int exit_code(int status) {
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

// nbdkit in the foreground and, once it serves, the command for which it does. (nbdkit runs such
// commands as well, but not when it may be sent a signal meanwhile: it spins until they end.)
class supervisor {
 public:
  supervisor(const serve_options &options, report &to)
      : options_{options}, to_{to}, greeting_{options.port, options.socket} {}

  result<int> run(std::vector<std::string> command);

 private:
  result<> greet();
  void look_after_client();

  const serve_options &options_;
  report &to_;
  held_signals signals_;
  nbd_greeting greeting_;
  bool is_ready_ = false;
  pid_t server_ = 0;
  pid_t client_ = 0;      // the command; 0: not, or no longer
  int client_status_ = 0; // when it has ended
};

result<> supervisor::greet() {
  if (is_ready_ || !greeting_.has_come(between_looks)) {
    return {};
  }
  is_ready_ = true;
  if (options_.run.empty()) {
    tell_ready(options_, to_);
    return {};
  }
  const auto client = spawn_client(options_);
  client_ = client.value_or(0);
  return client ? result<>{} : std::unexpected{client.error()};
}

void supervisor::look_after_client() {
  if (client_ != 0 && ::waitpid(client_, &client_status_, WNOHANG) == client_) {
    client_ = 0;
    ::kill(server_, SIGTERM);
  }
}

result<int> supervisor::run(std::vector<std::string> command) {
  constexpr std::chrono::milliseconds between_checks{500};
  const auto child = spawn(std::move(command));
  if (!child) {
    return std::unexpected{child.error()};
  }
  server_ = *child;
  result<> greeted;
  int status = 0;
  while (::waitpid(server_, &status, WNOHANG) == 0) {
    if (greeted && !(greeted = greet())) {
      ::kill(server_, SIGTERM);
    }
    look_after_client();
    const int signal = signals_.next(is_ready_ ? between_checks : std::chrono::milliseconds{0});
    if (signal != 0 && signal != SIGCHLD) {
      ::kill(client_ != 0 ? client_ : server_, SIGTERM);
    }
  }
  if (client_ != 0) {
    ::kill(client_, SIGTERM); // it is served no more
    ::waitpid(client_, &client_status_, 0);
  }
  if (!greeted) {
    return std::unexpected{greeted.error()};
  }
  if (WIFSIGNALED(status)) {
    return fail(failure::failed, fmt::format("nbdkit was killed by signal {}: all that is cached "
                                             "counts as dirty",
                                             WTERMSIG(status)));
  }
  if (!is_ready_ || WEXITSTATUS(status) != 0) {
    return refused_by_nbdkit();
  }
  if (const auto checked = check_clean_shutdown(options_); !checked) {
    return std::unexpected{checked.error()};
  }
  return exit_code(client_status_);
}

} // namespace

result<int> run_nbdkit(serve_options options, report &to) {
  const temporary_folder folder;
  if (!options.port && options.socket.empty()) {
    options.socket = folder.path() / "nbd";
  }
  auto command = nbdkit_command(options);
  if (!command) {
    return std::unexpected{command.error()};
  }
  if (folder.path().empty()) {
    return fail(failure::environment, "no temporary folder can be made: see TMPDIR");
  }
  if (options.foreground || !options.run.empty()) {
    return supervisor{options, to}.run(std::move(*command));
  }
  return start_in_background(std::move(*command), folder.path() / "pid", options, to);
}

} // namespace dmcache
