// Addresses of TCP at which a server listens.
#pragma once

#include <cstdint>
#include <string>

#include "base/file_descriptor.h"
#include "base/result.h"

namespace dmcache {

struct tcp_address {
  std::string host =
      "localhost";            // a name, or an address of either protocol; 0.0.0.0 and :: are all
  std::uint16_t port = 10809; // NBD's own
};

// Whether no other host can connect, whatever a name server says.
bool is_of_this_host_alone(const std::string &host);

// As it stands in a URI, for a client on this host: "localhost:10809", "[fe80::1]:10809".
std::string uri_part(const tcp_address &at);

// Fails with failure::environment if no server can listen there, even if whoever has the port doesn't
// listen.
result<> check_that_it_is_free(const tcp_address &at);

// Not open if nobody listens there.
file_descriptor connect_to(const tcp_address &at);

} // namespace dmcache
