#include "bin/serve/service_manager.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "base/file_descriptor.h"

namespace dmcache {

void notify_service_manager(std::string_view state) {
  const char *const at = std::getenv("NOTIFY_SOCKET"); // NOLINT(concurrency-mt-unsafe): one thread
  const std::string_view path = at == nullptr ? "" : at;
  sockaddr_un address{};
  if (path.empty() || path.size() > sizeof address.sun_path) {
    return;
  }
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  if (path.front() == '@') { // an abstract one
    address.sun_path[0] = '\0';
  }
  const file_descriptor made{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
  // If this fails, the service manager notices by itself that the service isn't ready in time.
  [[maybe_unused]] const auto sent = ::sendto(made.get(), state.data(), state.size(), MSG_NOSIGNAL,
                                              reinterpret_cast<const sockaddr *>(&address), length);
}

} // namespace dmcache
