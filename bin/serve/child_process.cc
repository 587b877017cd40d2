#include "bin/serve/child_process.h"

#include <fcntl.h>
#include <spawn.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <system_error>

#include <fmt/format.h>

namespace dmcache {
namespace {

// Longer lines are given in pieces, since a process must not fill this one's memory by what it
// says.
constexpr std::size_t longest_line = 4096;

// What posix_spawn() wants to know about the new process.
struct spawn_settings {
  spawn_settings() {
    ::posix_spawnattr_init(&attributes);
    ::posix_spawn_file_actions_init(&files);
    // No signal is blocked, and SIGPIPE, which is ignored in this process, kills.
    sigset_t set{};
    ::sigemptyset(&set);
    ::posix_spawnattr_setsigmask(&attributes, &set);
    ::sigaddset(&set, SIGPIPE);
    ::posix_spawnattr_setsigdefault(&attributes, &set);
    set_flags(0);
  }
  spawn_settings(const spawn_settings &) = delete;
  spawn_settings &operator=(const spawn_settings &) = delete;
  ~spawn_settings() {
    ::posix_spawnattr_destroy(&attributes);
    ::posix_spawn_file_actions_destroy(&files);
  }

  void set_flags(short more) {
    ::posix_spawnattr_setflags(
        &attributes, static_cast<short>(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | more));
  }

  posix_spawnattr_t attributes{};
  posix_spawn_file_actions_t files{};
};

std::unexpected<error> cannot_run(const std::string &program, int reason) {
  return fail(failure::environment,
              fmt::format("cannot run {}: {}", program,
                          std::error_code{reason, std::generic_category()}.message()));
}

struct pipe_ends {
  file_descriptor heard; // doesn't block
  file_descriptor said;
};

// Neither is open if there can't be a pipe, for the reason in errno.
pipe_ends make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    return {};
  }
  ::fcntl(ends[0], F_SETFL, O_NONBLOCK);
  return {file_descriptor{ends[0]}, file_descriptor{ends[1]}};
}

result<pid_t> spawn(std::vector<std::string> command, const spawn_settings &settings) {
  std::vector<char *> arguments;
  arguments.reserve(command.size() + 1);
  for (std::string &each : command) {
    arguments.push_back(each.data());
  }
  arguments.push_back(nullptr);
  pid_t made = 0;
  const int failed = ::posix_spawn(&made, command.front().c_str(), &settings.files,
                                   &settings.attributes, arguments.data(), environ);
  return failed == 0 ? result<pid_t>{made} : cannot_run(command.front(), failed);
}

// Their copies have higher numbers than those that the new process gets, lest one takes another's
// place.
result<std::vector<file_descriptor>> moved_up(const std::vector<int> &descriptors) {
  constexpr int above_all = 64;
  std::vector<file_descriptor> copies;
  for (const int each : descriptors) {
    copies.emplace_back(::fcntl(each, F_DUPFD_CLOEXEC, above_all));
    if (!copies.back().is_open()) {
      return fail(failure::environment,
                  fmt::format("cannot share a file: {}",
                              std::error_code{errno, std::generic_category()}.message()));
    }
  }
  return copies;
}

} // namespace

result<pid_t> start_command(std::vector<std::string> command) {
  return spawn(std::move(command), spawn_settings{});
}

result<server_process> start_server(std::vector<std::string> command,
                                    const std::vector<int> &shared) {
  const auto copies = moved_up(shared);
  if (!copies) {
    return std::unexpected{copies.error()};
  }
  pipe_ends output = make_pipe();
  pipe_ends notes = make_pipe();
  if (!output.said.is_open() || !notes.said.is_open()) {
    return cannot_run(command.front(), errno);
  }
  spawn_settings settings;
  settings.set_flags(POSIX_SPAWN_SETSID);
  ::posix_spawn_file_actions_addopen(&settings.files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  for (const int each : {STDOUT_FILENO, STDERR_FILENO}) {
    ::posix_spawn_file_actions_adddup2(&settings.files, output.said.get(), each);
  }
  ::posix_spawn_file_actions_adddup2(&settings.files, notes.said.get(), notes_descriptor);
  int next = first_shared_descriptor;
  for (const file_descriptor &each : *copies) {
    ::posix_spawn_file_actions_adddup2(&settings.files, each.get(), next++);
  }
  const auto id = spawn(std::move(command), settings);
  if (!id) {
    return std::unexpected{id.error()};
  }
  return server_process{*id, said_lines{std::move(output.heard)},
                        said_lines{std::move(notes.heard)}};
}

bool said_lines::read(const std::function<void(std::string_view line)> &take) {
  std::array<char, 4096> chunk{};
  const ssize_t got = from_.is_open() ? ::read(from_.get(), chunk.data(), chunk.size()) : -1;
  if (got > 0) {
    unfinished_.append(chunk.data(), static_cast<std::size_t>(got));
    take_lines(take, longest_line);
  } else if (got == 0) {
    from_ = file_descriptor{};
    take_lines(take, 1);
  }
  return got > 0;
}

// Gives `take` all whole lines that were read, and what comes after them if it is `longest` or
// longer.
void said_lines::take_lines(const std::function<void(std::string_view line)> &take,
                            std::size_t longest) {
  std::size_t begin = 0;
  for (std::size_t end = 0; (end = unfinished_.find('\n', begin)) != std::string::npos;
       begin = end + 1) {
    take(std::string_view{unfinished_}.substr(begin, end - begin));
  }
  unfinished_.erase(0, begin);
  if (unfinished_.size() >= longest) {
    take(unfinished_);
    unfinished_.clear();
  }
}

} // namespace dmcache
