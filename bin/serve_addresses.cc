#include "bin/serve_addresses.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <string_view>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "base/whole_number.h"
#include "bin/control/unix_socket.h"
#include "bin/serve/tcp_address.h"

namespace dmcache {
namespace {

std::unexpected<error> usage_error(std::string why) {
  return fail(failure::usage, std::move(why));
}

// Where nobody but the user can put or take sockets. In /tmp others could, so it is a folder of the
// user's own in there.
result<std::string> runtime_folder() {
  const char *const own = std::getenv("XDG_RUNTIME_DIR"); // NOLINT(concurrency-mt-unsafe)
  if (own != nullptr && *own == '/') {                    // anything else counts as not set
    return own;
  }
  if (::geteuid() == 0) {
    return "/run";
  }
  const std::string folder = fmt::format("/tmp/dmcache-{}", ::geteuid());
  ::mkdir(folder.c_str(), S_IRWXU);
  struct stat found{};
  if (::lstat(folder.c_str(), &found) != 0 || !S_ISDIR(found.st_mode) ||
      found.st_uid != ::geteuid() || (found.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
    return fail(failure::environment,
                fmt::format("{} is no folder of yours alone: give --socket and --control", folder));
  }
  return folder;
}

// The path of a socket for which no option gives one. It is named after the metadata.
result<std::string> default_socket(const std::string &metadata, std::string_view suffix) {
  const auto folder = runtime_folder();
  return folder
             ? result<std::string>{fmt::format("{}/dmcache-{}.{}", *folder,
                                               std::filesystem::path{metadata}.filename().string(),
                                               suffix)}
             : folder;
}

// The control socket of a server in the background, which could hardly be stopped without one. It
// is beside the NBD socket.
result<std::string> default_control(const serve_options &options) {
  return options.socket.empty() ? default_socket(options.paths.metadata.path, "ctl")
                                : options.socket + ".ctl";
}

bool is_same_path(const std::string &one, const std::string &other) {
  std::error_code failed;
  const auto whole = [&](const std::string &path) {
    return std::filesystem::weakly_canonical(path, failed);
  };
  return one == other || (whole(one) == whole(other) && !failed);
}

// Takes the options about TCP.
result<> take_tcp(const command_line &line, serve_options &options) {
  if (!line.has("port") && !line.has("listen")) {
    return {};
  }
  tcp_address at;
  at.host = line.text_or("listen", at.host.c_str());
  if (line.has("port")) {
    const auto port = whole_number<std::uint16_t>(line.text("port"));
    if (!port || *port == 0) {
      return usage_error(fmt::format("'{}' is no port: a number from 1 to {} is", line.text("port"),
                                     std::numeric_limits<std::uint16_t>::max()));
    }
    at.port = *port;
  }
  options.tcp = std::move(at);
  return options.socket.empty() ? result<>{}
                                : usage_error(fmt::format("give either --socket or --{}",
                                                          line.has("port") ? "port" : "listen"));
}

// Takes the options about TLS, without which other hosts are served only if the user insists.
result<> take_tls(const command_line &line, serve_options &options) {
  options.tls = {.certificates = absolute(line.text_or("tls-certificates", "")),
                 .shared_keys = absolute(line.text_or("tls-psk", ""))};
  if (line.has("tls-certificates") && line.has("tls-psk")) {
    return usage_error("give either --tls-certificates or --tls-psk");
  }
  const bool is_for_others = options.tcp && !is_of_this_host_alone(options.tcp->host);
  if (line.has("insecure") && (options.tls.is_on() || !is_for_others)) {
    return usage_error("--insecure is for a --listen that other hosts can connect to, without TLS");
  }
  if (is_for_others && !options.tls.is_on() && !line.has("insecure")) {
    return usage_error(
        fmt::format("at {}, whoever can connect could read and write all of the disk: "
                    "give --tls-certificates or --tls-psk, or else --insecure",
                    options.tcp->host));
  }
  return {};
}

// Fails if nbdkit would find none. It says itself what is wrong with them.
result<> check_tls(const tls_options &tls) {
  const std::string &path = tls.certificates.empty() ? tls.shared_keys : tls.certificates;
  if (!path.empty() && ::access(path.c_str(), R_OK) != 0) {
    return fail(failure::environment,
                fmt::format("cannot read {}: {}", path,
                            std::error_code{errno, std::generic_category()}.message()));
  }
  return {};
}

// Chooses the sockets that are needed, but that no option gives.
result<> choose_sockets(serve_options &options) {
  const bool is_in_background = options.run.empty() && !options.foreground;
  if (options.control.empty() && is_in_background) {
    auto control = default_control(options);
    if (!control) {
      return std::unexpected{control.error()};
    }
    options.control = std::move(*control);
  }
  if (!options.tcp && options.socket.empty() && options.run.empty()) {
    auto socket = default_socket(options.paths.metadata.path, "sock");
    if (!socket) {
      return std::unexpected{socket.error()};
    }
    options.socket = std::move(*socket);
  }
  if (!options.control.empty() && is_same_path(options.socket, options.control)) {
    return usage_error(
        fmt::format("{} can't be both sockets: choose another --control", options.socket));
  }
  for (const std::string &other : {options.socket, options.control}) {
    if (!options.status.empty() && is_same_path(options.status, other)) {
      return usage_error(
          fmt::format("{} can't be two sockets: choose another --status-socket", options.status));
    }
  }
  return {};
}

// Takes the options about who can connect to the sockets.
result<> take_access(const command_line &line, serve_options &options) {
  if (line.has("socket-group")) {
    const auto group = find_group(line.text("socket-group"));
    if (!group) {
      return std::unexpected{group.error()};
    }
    options.access = {.mode = S_IRUSR | S_IWUSR | S_IRGRP | S_IWGRP, .group = *group};
  }
  if (line.has("socket-mode")) {
    const auto mode = parse_socket_mode("--socket-mode", line.text("socket-mode"));
    if (!mode) {
      return std::unexpected{mode.error()};
    }
    options.access.mode = *mode;
  }
  const bool is_given = line.has("socket-group") || line.has("socket-mode");
  return is_given && options.socket.empty() && options.control.empty()
             ? usage_error(
                   "--socket-group and --socket-mode are those of --socket and --control: give one")
             : result<>{};
}

} // namespace

std::string absolute(const std::string &path) {
  std::error_code failed;
  const auto whole = std::filesystem::absolute(path, failed);
  return failed || path.empty() ? path : whole.string();
}

result<> take_addresses(const command_line &line, serve_options &options) {
  options.socket = absolute(line.text_or("socket", ""));
  options.control = absolute(line.text_or("control", ""));
  options.status = absolute(line.text_or("status-socket", ""));
  auto taken = take_tcp(line, options);
  taken = taken ? take_tls(line, options) : taken;
  taken = taken ? choose_sockets(options) : taken;
  return taken ? take_access(line, options) : taken;
}

result<> check_addresses(const serve_options &options) {
  if (options.access.group) {
    if (auto checked = check_that_it_can_be_given_to(*options.access.group); !checked) {
      return checked;
    }
  }
  if (auto checked = check_tls(options.tls); !checked) {
    return checked;
  }
  if (options.tcp) {
    if (auto checked = check_that_it_is_free(*options.tcp); !checked) {
      return checked;
    }
  }
  for (const std::string &path : {options.socket, options.control, options.status}) {
    if (path.empty()) {
      continue;
    }
    if (auto checked = remove_dead_socket(path); !checked) {
      return checked;
    }
  }
  return {};
}

} // namespace dmcache
