#include "bin/nbd_greeting.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <string_view>
#include <thread>

#include "bin/unix_socket.h"

namespace dmcache {
namespace {

using namespace std::string_view_literals;

// Of the protocol's newstyle handshake: what both sides begin with; and, of the client's side, that
// it knows this style, and the option to go.
constexpr std::string_view greeting = "NBDMAGICIHAVEOPT";
constexpr std::string_view goodbye = "\0\0\0\1IHAVEOPT\0\0\0\2\0\0\0\0"sv;

template <typename Address> file_descriptor connect_to_address(const Address &address, int family) {
  file_descriptor made{::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  if (made.is_open() &&
      ::connect(made.get(), reinterpret_cast<const sockaddr *>(&address), sizeof address) != 0) {
    made = file_descriptor{};
  }
  return made;
}

file_descriptor connect_to_port(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (auto made = connect_to_address(address, AF_INET); made.is_open()) {
    return made;
  }
  sockaddr_in6 newer{};
  newer.sin6_family = AF_INET6;
  newer.sin6_port = htons(port);
  newer.sin6_addr = in6addr_loopback;
  return connect_to_address(newer, AF_INET6);
}

} // namespace

bool is_in_use(std::uint16_t port) {
  return connect_to_port(port).is_open();
}

void nbd_greeting::connect() {
  if (port_) {
    connection_ = connect_to_port(*port_);
  } else if (auto made = connect_to(socket_)) {
    connection_ = std::move(*made);
  }
}

bool nbd_greeting::has_come(std::chrono::milliseconds within) {
  if (!connection_.is_open()) {
    connect();
  }
  if (!connection_.is_open()) {
    std::this_thread::sleep_for(within);
    return false;
  }
  pollfd events{connection_.get(), POLLIN, 0};
  if (::poll(&events, 1, static_cast<int>(within.count())) != 1) {
    return false;
  }
  std::array<char, greeting.size()> heard{};
  const ssize_t got = ::recv(connection_.get(), heard.data(), heard.size(), MSG_WAITALL);
  const bool has_come =
      got > 0 && std::string_view{heard.data(), static_cast<std::size_t>(got)} == greeting;
  if (has_come) { // not just hung up, which the server would complain of
    [[maybe_unused]] const auto sent =
        ::send(connection_.get(), goodbye.data(), goodbye.size(), MSG_NOSIGNAL);
  }
  connection_ = file_descriptor{};
  if (!has_come) {
    std::this_thread::sleep_for(within);
  }
  return has_come;
}

} // namespace dmcache
