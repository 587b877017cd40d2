// Where clients come in, as control_server.cc knows it.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <utility>

#include <boost/asio.hpp>

#include "base/result.h"
#include "bin/control/connected_client.h"
#include "bin/control/unix_socket.h"

namespace dmcache {

// A socket at which the server listens. Each has its own places for clients: those who ask for the
// status can't keep out who controls the cache.
struct door {
  door(asio::io_context &in, listening_socket at, bool is_for_control)
      : listens{std::move(at)}, acceptor{in}, pause{in}, leads_to_control{is_for_control} {
    acceptor.assign(stream_protocol{}, listens.take_descriptor().release());
  }

  listening_socket listens;
  stream_protocol::acceptor acceptor;
  asio::steady_timer pause; // after a connection could not be accepted
  bool leads_to_control;
  std::size_t nr_clients = 0;
};

// None if there is to be none.
inline result<std::optional<listening_socket>> listen_at(const std::string &path,
                                                         const socket_access &access) {
  if (path.empty()) {
    return std::nullopt;
  }
  auto made = listening_socket::at(path, access);
  return made ? result<std::optional<listening_socket>>{std::move(*made)}
              : std::unexpected{made.error()};
}

} // namespace dmcache
