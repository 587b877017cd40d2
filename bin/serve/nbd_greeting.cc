#include "bin/serve/nbd_greeting.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <system_error>

#include <fmt/format.h>

#include "bin/control/unix_socket.h"

namespace dmcache {
namespace {

using namespace std::string_view_literals;

// The beginning of the protocol's newstyle handshake, which both sides send; and what this client
// sends: that it knows this style, and the option to end the connection.
constexpr std::string_view greeting = "NBDMAGICIHAVEOPT";
constexpr std::string_view goodbye = "\0\0\0\1IHAVEOPT\0\0\0\2\0\0\0\0"sv;

// This host's address in one of the two protocols, as the system's calls take it.
struct local_address {
  sockaddr_storage storage{};
  socklen_t size = 0;

  const sockaddr *get() const { return reinterpret_cast<const sockaddr *>(&storage); }
};

template <typename Address> local_address generic(const Address &address) {
  local_address made;
  std::memcpy(&made.storage, &address, sizeof address);
  made.size = sizeof address;
  return made;
}

std::array<local_address, 2> local_addresses(std::uint16_t port) {
  sockaddr_in older{};
  older.sin_family = AF_INET;
  older.sin_port = htons(port);
  older.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  sockaddr_in6 newer{};
  newer.sin6_family = AF_INET6;
  newer.sin6_port = htons(port);
  newer.sin6_addr = in6addr_loopback;
  return {generic(older), generic(newer)};
}

file_descriptor make_socket(const local_address &of) {
  return file_descriptor{::socket(of.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0)};
}

file_descriptor connect_to_port(std::uint16_t port) {
  for (const local_address &each : local_addresses(port)) {
    file_descriptor made = make_socket(each);
    if (made.is_open() && ::connect(made.get(), each.get(), each.size) == 0) {
      return made;
    }
  }
  return {};
}

// Like nbdkit, this doesn't care about connections that have ended.
std::errc try_to_listen(const local_address &at) {
  const file_descriptor made = make_socket(at);
  constexpr int yes = 1;
  const bool listens = made.is_open() &&
                       ::setsockopt(made.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) == 0 &&
                       ::bind(made.get(), at.get(), at.size) == 0 && ::listen(made.get(), 1) == 0;
  return listens ? std::errc{} : std::errc{errno};
}

} // namespace

result<> check_port(std::uint16_t port) {
  for (const local_address &each : local_addresses(port)) {
    const std::errc failed = try_to_listen(each);
    if (failed == std::errc::address_in_use) {
      return fail(failure::environment,
                  fmt::format("port {} is in use: choose another --port", port));
    }
    if (failed == std::errc::permission_denied) {
      return fail(failure::environment,
                  fmt::format("port {} is not for every user: choose another --port", port));
    }
  }
  return {}; // any other failure may only mean that this host lacks one of the protocols
}

void nbd_greeting::connect() {
  if (port_) {
    connection_ = connect_to_port(*port_);
  } else if (auto made = connect_to(socket_)) {
    connection_ = std::move(*made);
  }
}

bool nbd_greeting::has_come() {
  if (!connection_.is_open()) {
    connect();
  }
  pollfd events{connection_.get(), POLLIN, 0};
  if (!connection_.is_open() || ::poll(&events, 1, 0) != 1) {
    return false;
  }
  std::array<char, greeting.size()> heard{};
  const ssize_t got = ::recv(connection_.get(), heard.data(), heard.size(), MSG_WAITALL);
  const bool has_come =
      got > 0 && std::string_view{heard.data(), static_cast<std::size_t>(got)} == greeting;
  if (has_come) { // the server would complain of a client that just hangs up
    [[maybe_unused]] const auto sent =
        ::send(connection_.get(), goodbye.data(), goodbye.size(), MSG_NOSIGNAL);
  }
  connection_ = file_descriptor{};
  return has_come;
}

} // namespace dmcache
