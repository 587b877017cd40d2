// Finds out whether an NBD server answers yet. A server greets each client that connects.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "base/file_descriptor.h"
#include "base/result.h"

namespace dmcache {

// Fails with failure::environment if no server can listen at this port of this host, even if
// whoever has the port doesn't listen there.
result<> check_port(std::uint16_t port);

class nbd_greeting {
 public:
  // Asks the server at this port of this host, or, without a port, the one at `socket`.
  nbd_greeting(std::optional<std::uint16_t> port, std::string socket)
      : port_{port}, socket_{std::move(socket)} {}

  // Whether the greeting has come. Connects first if there is no connection, and says goodbye to
  // the server when it has answered.
  bool has_come();

 private:
  void connect();

  std::optional<std::uint16_t> port_;
  std::string socket_;
  file_descriptor connection_;
};

} // namespace dmcache
