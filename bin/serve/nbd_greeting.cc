#include "bin/serve/nbd_greeting.h"

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <string_view>

#include "bin/control/unix_socket.h"

namespace dmcache {
namespace {

using namespace std::string_view_literals;

// The beginning of the protocol's newstyle handshake, which both sides send; and what this client
// sends: that it knows this style, and the option to end the connection.
constexpr std::string_view greeting = "NBDMAGICIHAVEOPT";
constexpr std::string_view goodbye = "\0\0\0\1IHAVEOPT\0\0\0\2\0\0\0\0"sv;

} // namespace

void nbd_greeting::connect() {
  if (tcp_) {
    connection_ = connect_to(*tcp_);
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
