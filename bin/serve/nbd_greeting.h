// Whether an NBD server answers yet: it greets who connects.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "base/file_descriptor.h"
#include "base/result.h"

namespace dmcache {

// Can a server listen at this port of this host? Fails with failure::environment if not, whether or
// not what has the port listens there.
result<> check_port(std::uint16_t port);

class nbd_greeting {
 public:
  // Of the server at this port of this host, or else of the one at `socket`.
  nbd_greeting(std::optional<std::uint16_t> port, std::string socket)
      : port_{port}, socket_{std::move(socket)} {}

  // Looks for it, and connects first, again if need be. Once it has come, the server is told
  // goodbye.
  bool has_come();

 private:
  void connect();

  std::optional<std::uint16_t> port_;
  std::string socket_;
  file_descriptor connection_;
};

} // namespace dmcache
