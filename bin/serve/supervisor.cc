#include "bin/serve/supervisor.h"

#include <poll.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <thread>

#include <fmt/format.h>

#include "base/opened_file.h"
#include "bin/control/settings_line.h"
#include "bin/control/unix_socket.h"
#include "bin/serve/serve_check.h"

namespace dmcache {
namespace {

using clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds between_looks{20};
constexpr std::chrono::milliseconds shortest_pause{100}; // between two starts that failed
constexpr std::chrono::milliseconds longest_pause{5000};
constexpr std::chrono::minutes healthy_life{1}; // after which an nbdkit's death says nothing new
constexpr std::chrono::seconds client_grace{5};
constexpr std::chrono::seconds longest_wait_for_devices{60};

int exit_code(int status) {
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

std::string death_of_nbdkit(int status) {
  return fmt::format("nbdkit was killed by signal {} ({})", WTERMSIG(status),
                     ::strsignal(WTERMSIG(status))); // NOLINT(concurrency-mt-unsafe): one thread
}

// Gives the command the variables that nbdkit sets for the commands that it runs.
result<pid_t> start_client(const serve_options &options) {
  const std::string uri = uri_of(options);
  return start_command({"/usr/bin/env", "uri=" + uri, "nbd=" + uri, "exportname=",
                        "port=" + (options.tcp ? std::to_string(options.tcp->port) : ""),
                        "unixsocket=" + options.socket, "/bin/sh", "-c", options.run});
}

} // namespace

result<int> supervisor::run() {
  auto locked = device_locks::take(options_.paths, mode_);
  if (!locked) {
    return std::unexpected{locked.error()};
  }
  locks_ = std::move(*locked);
  options_.paths.files_locked_by = locking::callers;
  auto started = start();
  while (started) {
    const int status = watch_until_it_ends();
    if (!may_start_again(status)) {
      end_client();
      served_at_.remove();
      return outcome(status);
    }
    const auto pause = next_pause();
    if (WIFSIGNALED(status)) {
      log_.tell(fmt::format("{}, and is started again{}: {}", death_of_nbdkit(status),
                            pause.count() == 0 ? "" : fmt::format(" in {} ms", pause.count()),
                            consequence()));
    }
    started = rest(pause);
    started = started ? start_again() : started;
  }
  end_client();
  served_at_.remove();
  return std::unexpected{started.error()};
}

result<> supervisor::start() {
  const auto shared = locks_.descriptors();
  auto command = nbdkit_command(options_, shared.size());
  if (!command) {
    return std::unexpected{command.error()};
  }
  auto started = start_server(std::move(*command), shared);
  if (!started) {
    return std::unexpected{started.error()};
  }
  server_ = started->id;
  says_ = std::move(started->says);
  notes_ = std::move(started->notes);
  greeting_ = nbd_greeting{options_.tcp, options_.socket};
  is_answering_ = false;
  started_ = clock::now();
  return {};
}

// There is none after a healthy life.
std::chrono::milliseconds supervisor::next_pause() {
  const bool was_healthy = clock::now() - started_ >= healthy_life;
  const auto pause = was_healthy ? std::chrono::milliseconds{0} : pause_;
  pause_ = std::clamp(2 * pause, shortest_pause, longest_pause);
  return pause;
}

// Does nothing for so long but what it is told to. Fails if that is to end.
result<> supervisor::rest(std::chrono::milliseconds pause) {
  const auto end = clock::now() + pause;
  while (clock::now() < end && !is_told_to_end_) {
    wait_for_news();
    take_signals();
    look_after_client();
  }
  return is_told_to_end_ ? fail(failure::failed,
                                fmt::format("was told to end before nbdkit was started again: {}",
                                            consequence()))
                         : result<>{};
}

result<> supervisor::start_again() {
  options_.engine.may_format = false;
  if (auto waited = wait_for_devices(); !waited) {
    return waited;
  }
  leave_passthrough_if_needed();
  if (!options_.tcp) {
    if (auto removed = remove_dead_socket(options_.socket); !removed) {
      return removed;
    }
  }
  return start();
}

// In passthrough nothing may be dirty, and something may be by now, or count as such.
void supervisor::leave_passthrough_if_needed() {
  engine_options &engine = options_.engine;
  if (engine.mode != cache_mode::passthrough) {
    return;
  }
  engine_options other = engine;
  other.mode = cache_mode::writethrough;
  const auto checked = check_before_serving(options_.paths, engine);
  if (!checked && check_before_serving(options_.paths, other)) {
    log_.tell(fmt::format("{}: the cache is served in writethrough mode", checked.error().message));
    engine.mode = cache_mode::writethrough;
  }
}

// The devices may be in use for a little longer than the process was there that died: by the
// kernel, which ends the I/O that was under way, or by somebody who looks at them just now. If they
// stay in use, nbdkit says so.
result<> supervisor::wait_for_devices() {
  const auto patience_ends = clock::now() + longest_wait_for_devices;
  bool is_told = false;
  for (;;) {
    const std::string in_use = locks_.in_use();
    if (in_use.empty() || clock::now() > patience_ends) {
      return {};
    }
    if (!std::exchange(is_told, true)) {
      log_.tell(fmt::format("{} is in use: nbdkit is started when it is free", in_use));
    }
    wait_for_news();
    take_signals();
    look_after_client();
    if (is_told_to_end_) {
      return fail(failure::failed,
                  fmt::format("was told to end while {} was in use: {}", in_use, consequence()));
    }
  }
}

// One that was killed, and one that found a device in use in the moment in which it was started.
bool supervisor::may_start_again(int status) const {
  if (!was_answering_ || is_told_to_end_) {
    return false;
  }
  return WIFSIGNALED(status) ||
         (WEXITSTATUS(status) != 0 && !is_answering_ && !locks_.in_use().empty());
}

// The value is nbdkit's status, as waitpid() tells it.
int supervisor::watch_until_it_ends() {
  int status = 0;
  while (::waitpid(server_, &status, WNOHANG) == 0) {
    wait_for_news();
    hear_it();
    take_notes();
    take_signals();
    greet();
    look_after_client();
  }
  server_ = 0;
  while (hear_it()) {
  }
  while (take_notes()) {
  }
  return status;
}

void supervisor::wait_for_news() {
  constexpr int until_there_are = -1;
  std::array<pollfd, 3> news{pollfd{signals_.descriptor(), POLLIN, 0},
                             pollfd{says_.descriptor(), POLLIN, 0},
                             pollfd{notes_.descriptor(), POLLIN, 0}};
  const bool is_coming_or_going = !is_answering_ || server_ == 0;
  ::poll(news.data(), news.size(),
         is_coming_or_going ? static_cast<int>(between_looks.count()) : until_there_are);
}

// Passes on some of what nbdkit says, but not all at a time: it may say more than can be passed on.
// The value says whether there may be more.
bool supervisor::hear_it() {
  return says_.read([this](std::string_view line) { log_.pass_on(line); });
}

// What is no line of settings is of another version's plugin, and nothing is known of it.
bool supervisor::take_notes() {
  return notes_.read([this](std::string_view line) { take_settings(line, options_.engine); });
}

void supervisor::take_signals() {
  while (const int signal = signals_.next()) {
    if (signal != SIGCHLD && client_ != 0) {
      is_told_to_end_ = true;
      ::kill(client_, SIGTERM);
    } else if (signal != SIGCHLD) {
      tell_to_end();
    }
  }
}

void supervisor::greet() {
  if (is_answering_ || !greeting_.has_come()) {
    return;
  }
  is_answering_ = true;
  served_at_ = options_.tcp ? socket_file{} : socket_file{options_.socket};
  hear_what_came_before();
  let_clients_in();
  if (began_ && !std::exchange(was_answering_, true)) {
    begin_to_serve();
  }
}

// What nbdkit said before it answered is for whoever waits for that. It is no more than a pipe holds.
void supervisor::hear_what_came_before() {
  for (int chunks = 16; chunks > 0 && hear_it(); --chunks) {
  }
}

// nbdkit makes its socket such that only its user can connect, whatever the umask. Once somebody is
// served, a socket that others can't connect to is not worth an end.
void supervisor::let_clients_in() {
  if (options_.tcp) {
    return;
  }
  auto given = give_access(options_.socket, options_.access);
  if (!given && was_answering_) {
    log_.tell(given.error().message);
  } else if (!given) {
    began_ = std::move(given);
    tell_to_end();
  }
}

void supervisor::begin_to_serve() {
  when_ready_();
  if (options_.run.empty()) {
    return;
  }
  const auto client = start_client(options_);
  if (!client) {
    began_ = std::unexpected{client.error()};
    tell_to_end();
  }
  client_ = client.value_or(0);
}

void supervisor::look_after_client() {
  if (client_ != 0 && ::waitpid(client_, &client_status_, WNOHANG) == client_) {
    client_ = 0;
    tell_to_end();
  }
}

// Ends the command, which might otherwise wait for ever for a cache that is no longer served.
void supervisor::end_client() {
  if (client_ == 0) {
    return;
  }
  ::kill(client_, SIGTERM);
  const auto patience_ends = clock::now() + client_grace;
  while (::waitpid(client_, &client_status_, WNOHANG) == 0) {
    if (clock::now() > patience_ends) {
      ::kill(client_, SIGKILL);
    }
    std::this_thread::sleep_for(between_looks);
  }
  client_ = 0;
}

void supervisor::tell_to_end() {
  is_told_to_end_ = true;
  if (server_ != 0) {
    ::kill(server_, SIGTERM);
  }
}

// Of the death of nbdkit, for the cache.
std::string_view supervisor::consequence() const {
  return options_.engine.tracking == dirty_tracking::exact
             ? "nothing that was acknowledged is lost"
             : "nothing that was acknowledged is lost, and all that is cached counts as dirty";
}

result<int> supervisor::outcome(int status) const {
  if (!began_) {
    return std::unexpected{began_.error()};
  }
  if (is_told_to_end_ && !was_answering_) {
    return fail(failure::failed, "was told to end before it served the cache");
  }
  if (WIFSIGNALED(status)) {
    return fail(failure::failed, fmt::format("{}: {}", death_of_nbdkit(status), consequence()));
  }
  // If it ended well, it may have served clients before this process saw it answer.
  const bool has_served = WEXITSTATUS(status) == 0 ? was_answering_ : is_answering_;
  if (!has_served) {
    return fail(failure::failed, "nbdkit could not serve the cache: it says why above");
  }
  if (WEXITSTATUS(status) != 0) { // the plugin sets this if it can't shut the cache down
    return fail(failure::failed, "nbdkit failed, and all that is cached may count as dirty: it "
                                 "says why above");
  }
  return exit_code(client_status_);
}

} // namespace dmcache
