#include "bin/control/control_client.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <optional>
#include <system_error>

#include <fmt/format.h>

#include "base/whole_number.h"
#include "bin/control/control_protocol.h"
#include "bin/control/unix_socket.h"

namespace dmcache {
namespace {

constexpr timeval patience{30, 0};
constexpr std::string_view nbd_greeting = "NBDMAGIC"; // of NBD servers, before anything is asked
constexpr std::size_t max_line_size = 1 << 20;        // longer lines are no answer of a cache

// What follows the word in `line`, if the line begins with it.
std::optional<std::string_view> after(std::string_view word, std::string_view line) {
  if (line == word) {
    return "";
  }
  if (line.starts_with(word) && line[word.size()] == ' ') {
    return line.substr(word.size() + 1);
  }
  return {};
}

void tell_progress(std::string_view counts, const control_client::progress_listener &tell) {
  std::array<std::uint64_t, 2> numbers{};
  const char *at = counts.data();
  const char *const end = at + counts.size();
  for (std::uint64_t &number : numbers) {
    at = std::from_chars(at, end, number).ptr;
    at = at == end ? at : at + 1;
  }
  if (tell) {
    tell(numbers[0], numbers[1]);
  }
}

// A pidfd of the process that listens at the other end. Not open if that process is hidden from
// this.
file_descriptor server_of(const file_descriptor &socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
    return {};
  }
  return file_descriptor{static_cast<int>(::syscall(SYS_pidfd_open, peer.pid, 0))};
}

} // namespace

control_client::control_client(file_descriptor socket, std::string path)
    : socket_{std::move(socket)}, server_{server_of(socket_)}, path_{std::move(path)} {}

result<control_client> control_client::connect(const std::string &path) {
  auto connected = connect_to(path);
  if (!connected) {
    const std::error_code reason = connected.error();
    if (reason == std::errc::permission_denied) {
      return fail(failure::environment,
                  fmt::format("Permission denied: {}: run this as root, or as the user who serves "
                              "the cache",
                              path));
    }
    return fail(failure::environment,
                fmt::format("no cache listens at {}: {}: serve it with cache_serve --control {}",
                            path, reason.message(), path));
  }
  if (::setsockopt(connected->get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) != 0 ||
      ::setsockopt(connected->get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) != 0) {
    return fail(failure::environment, fmt::format("cannot use {}", path));
  }
  return control_client{std::move(*connected), path};
}

result<std::string> control_client::ask(std::string_view request, const progress_listener &tell,
                                        const find_listener &tell_find) {
  const std::string line = fmt::format("{}\n", request);
  if (line.size() > max_request_size) {
    return fail(failure::usage, fmt::format("a request has at most {} bytes", max_request_size));
  }
  send(line);
  while (true) {
    const auto answer = read_line();
    if (!answer) {
      return answer;
    }
    if (const auto counts = after("progress", *answer)) {
      tell_progress(*counts, tell);
    } else if (const auto find = after("found", *answer)) {
      if (tell_find) {
        tell_find(*find);
      }
    } else if (const auto text = after("ok", *answer)) {
      return std::string{*text};
    } else if (const auto why = after("error", *answer)) {
      return std::unexpected{parse_error(*why)};
    } else {
      return lost("what answers there is no cache");
    }
  }
}

// If the server doesn't take the request, reading the answer fails as well, and tells why.
void control_client::send(std::string_view line) {
  [[maybe_unused]] const auto sent = ::send(socket_.get(), line.data(), line.size(), MSG_NOSIGNAL);
}

result<control_client::recording>
control_client::record(const std::function<result<>(std::string_view line)> &take,
                       const std::function<bool()> &is_enough) {
  recording so_far;
  bool is_at_end = false;
  send("record\n");
  while (true) {
    const auto answer = read_line();
    if (!answer) {
      return std::unexpected{answer.error()};
    }
    if (const auto asked = after("request", *answer)) {
      ++so_far.nr_requests;
      if (const auto taken = take(*asked); !taken) {
        return std::unexpected{taken.error()};
      }
    } else if (const auto count = after("lost", *answer)) {
      so_far.nr_lost += whole_number<std::uint64_t>(*count).value_or(0);
    } else if (after("ok", *answer)) {
      return so_far;
    } else if (const auto why = after("error", *answer)) {
      return std::unexpected{parse_error(*why)};
    } else if (!after("progress", *answer)) {
      return lost("what answers there is no cache");
    } else if (!is_at_end && is_enough()) {
      is_at_end = true;
      (void)::shutdown(socket_.get(), SHUT_WR); // what the server has is still told, up to "ok"
    }
  }
}

result<> control_client::wait_for_its_end(std::chrono::seconds at_most) {
  pollfd end{server_.get(), POLLIN, 0};
  if (server_.is_open() &&
      ::poll(&end, 1, static_cast<int>(std::chrono::milliseconds{at_most}.count())) != 1) {
    return fail(failure::failed, fmt::format("the cache at {} is shut down, but its server hasn't "
                                             "ended within {} seconds: end it by kill",
                                             path_, at_most.count()));
  }
  return {};
}

result<std::string> control_client::read_line() {
  std::array<char, 4096> chunk{};
  std::size_t end = received_.find('\n');
  while (end == std::string::npos) {
    const ssize_t got = ::recv(socket_.get(), chunk.data(), chunk.size(), 0);
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got < 0) {
      return lost(errno == EAGAIN ? "the server doesn't answer" : "the server hung up");
    }
    if (got == 0) {
      return lost("the server ended without an answer");
    }
    received_.append(chunk.data(), static_cast<std::size_t>(got));
    end = received_.find('\n');
    if (end == std::string::npos && received_.size() > max_line_size) {
      return lost("what answers there is no cache");
    }
  }
  std::string line = received_.substr(0, end);
  received_.erase(0, end + 1);
  return line;
}

std::unexpected<error> control_client::lost(std::string_view why) const {
  if (received_.starts_with(nbd_greeting)) {
    return fail(failure::environment,
                fmt::format("{} is an NBD socket: the control socket is the one of cache_serve "
                            "--control, by default {}.ctl",
                            path_, path_));
  }
  return fail(failure::environment, fmt::format("{}: {}", path_, why));
}

} // namespace dmcache
