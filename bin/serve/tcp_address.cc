#include "bin/serve/tcp_address.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <expected>
#include <memory>
#include <system_error>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace dmcache {
namespace {

using found_addresses = std::unique_ptr<addrinfo, void (*)(addrinfo *)>;

// The error is one of getaddrinfo().
std::expected<found_addresses, int> find_addresses(const std::string &host, std::uint16_t port,
                                                   int flags) {
  addrinfo wanted{};
  wanted.ai_flags = flags;
  wanted.ai_socktype = SOCK_STREAM;
  addrinfo *found = nullptr;
  const int failed = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &wanted, &found);
  if (failed != 0) {
    return std::unexpected{failed};
  }
  return found_addresses{found, ::freeaddrinfo};
}

bool is_loopback(const addrinfo &address) {
  if (address.ai_family == AF_INET) {
    sockaddr_in older{};
    std::memcpy(&older, address.ai_addr, sizeof older);
    return ntohl(older.sin_addr.s_addr) >> IN_CLASSA_NSHIFT == IN_LOOPBACKNET;
  }
  sockaddr_in6 newer{};
  std::memcpy(&newer, address.ai_addr, std::min<std::size_t>(sizeof newer, address.ai_addrlen));
  return address.ai_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&newer.sin6_addr) != 0;
}

file_descriptor make_socket(const addrinfo &of) {
  return file_descriptor{::socket(of.ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0)};
}

// Like nbdkit, this doesn't care about connections that have ended, and keeps the protocols apart.
std::errc try_to_listen(const addrinfo &at) {
  const file_descriptor made = make_socket(at);
  constexpr int yes = 1;
  const auto set = [&](int level, int option) {
    return ::setsockopt(made.get(), level, option, &yes, sizeof yes) == 0;
  };
  const bool listens = made.is_open() && set(SOL_SOCKET, SO_REUSEADDR) &&
                       (at.ai_family != AF_INET6 || set(IPPROTO_IPV6, IPV6_V6ONLY)) &&
                       ::bind(made.get(), at.ai_addr, at.ai_addrlen) == 0 &&
                       ::listen(made.get(), 1) == 0;
  return listens ? std::errc{} : std::errc{errno};
}

// Clients may take "localhost" for either protocol's address, although the system knows one only.
std::vector<std::string> hosts_meant_by(const std::string &host) {
  return host == "localhost" ? std::vector<std::string>{"127.0.0.1", "::1"} : std::vector{host};
}

std::unexpected<error> cannot_listen(const tcp_address &at, const std::string &why) {
  return fail(failure::environment, fmt::format("cannot listen at {}: {}", at.host, why));
}

} // namespace

bool is_of_this_host_alone(const std::string &host) {
  if (host == "localhost") {
    return true;
  }
  const auto found = find_addresses(host, 0, AI_NUMERICHOST);
  return found && is_loopback(**found);
}

std::string uri_part(const tcp_address &at) {
  const bool is_any = at.host == "0.0.0.0" || at.host == "::";
  std::string host = is_any ? "localhost" : at.host;
  if (host.contains(':')) {
    // The name of a network follows a '%', as in fe80::1%eth0.
    const std::size_t network = host.find('%');
    host = network == std::string::npos
               ? fmt::format("[{}]", host)
               : fmt::format("[{}%25{}]", host.substr(0, network), host.substr(network + 1));
  }
  return fmt::format("{}:{}", host, at.port);
}

result<> check_that_it_is_free(const tcp_address &at) {
  std::vector<found_addresses> all;
  for (const std::string &host : hosts_meant_by(at.host)) {
    auto found = find_addresses(host, at.port, AI_PASSIVE);
    if (!found) {
      return cannot_listen(at, ::gai_strerror(found.error()));
    }
    all.push_back(std::move(*found));
  }
  bool is_possible = false;
  std::errc failed{};
  for (const found_addresses &of_host : all) {
    for (const addrinfo *each = of_host.get(); each != nullptr; each = each->ai_next) {
      failed = try_to_listen(*each);
      if (failed == std::errc::address_in_use || failed == std::errc::permission_denied) {
        return fail(
            failure::environment,
            fmt::format("port {} is {}: choose another --port", at.port,
                        failed == std::errc::address_in_use ? "in use" : "not for every user"));
      }
      is_possible |= failed == std::errc{};
    }
  }
  // Other failures may only mean that this host lacks one of the protocols.
  return is_possible ? result<>{} : cannot_listen(at, std::make_error_code(failed).message());
}

file_descriptor connect_to(const tcp_address &at) {
  const auto found = find_addresses(at.host, at.port, 0);
  for (const addrinfo *each = found ? found->get() : nullptr; each != nullptr;
       each = each->ai_next) {
    file_descriptor made = make_socket(*each);
    if (made.is_open() && ::connect(made.get(), each->ai_addr, each->ai_addrlen) == 0) {
      return made;
    }
  }
  return {};
}

} // namespace dmcache
