// Finds out whether an NBD server answers yet. A server greets each client that connects.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "base/file_descriptor.h"
#include "bin/serve/tcp_address.h"

namespace dmcache {

class nbd_greeting {
 public:
  // Asks the server at `tcp`, or, without such an address, the one at `socket`.
  nbd_greeting(std::optional<tcp_address> tcp, std::string socket)
      : tcp_{std::move(tcp)}, socket_{std::move(socket)} {}

  // Whether the greeting has come. Connects first if there is no connection, and says goodbye to
  // the server when it has answered.
  bool has_come();

 private:
  void connect();

  std::optional<tcp_address> tcp_;
  std::string socket_;
  file_descriptor connection_;
};

} // namespace dmcache
