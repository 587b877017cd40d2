#include "bin/control/unix_socket.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include <fmt/format.h>

namespace dmcache {
namespace {

constexpr int backlog = 64;

std::error_code system_error() {
  return {errno, std::generic_category()};
}

std::optional<sockaddr_un> address_of(const std::string &path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return {};
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

// The address as the system's calls take it.
const sockaddr *generic(const sockaddr_un &address) {
  return reinterpret_cast<const sockaddr *>(&address);
}

std::unexpected<error> cannot_listen(const std::string &path, const std::string &why) {
  return fail(failure::environment, fmt::format("cannot listen at {}: {}", path, why));
}

// Locks the folder. Two servers that start at the same time take turns by this, so that neither
// takes the other's socket for a dead one. Closing the descriptor unlocks the folder.
result<file_descriptor> lock_folder_of(const std::string &path) {
  constexpr std::chrono::milliseconds patience{2000};
  constexpr std::chrono::milliseconds between{10};
  const std::filesystem::path parent = std::filesystem::path{path}.parent_path();
  file_descriptor folder{
      ::open(parent.empty() ? "." : parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!folder.is_open()) {
    return cannot_listen(path, fmt::format("its folder: {}", system_error().message()));
  }
  for (auto waited = between; ::flock(folder.get(), LOCK_EX | LOCK_NB) != 0; waited += between) {
    if (errno != EWOULDBLOCK || waited > patience) {
      return cannot_listen(path, "its folder is locked");
    }
    std::this_thread::sleep_for(between);
  }
  return folder;
}

// Requires that the folder is locked.
result<> remove_if_dead(const std::string &path, const sockaddr_un &address) {
  struct stat found{};
  if (::lstat(path.c_str(), &found) != 0) {
    return errno == ENOENT ? result<>{} : cannot_listen(path, system_error().message());
  }
  if (!S_ISSOCK(found.st_mode)) {
    return cannot_listen(path, "it exists, and is no socket: choose another path, or remove it");
  }
  // The probe never waits, not even for a server that accepts no connections.
  const file_descriptor probe{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (!probe.is_open()) {
    return cannot_listen(path, system_error().message());
  }
  if (::connect(probe.get(), generic(address), sizeof address) == 0 || errno == EAGAIN) {
    return cannot_listen(path, "a server is running there: choose another path, or stop it");
  }
  if (errno != ECONNREFUSED || ::unlink(path.c_str()) != 0) {
    return cannot_listen(path, system_error().message());
  }
  return {};
}

// A path at which nobody listens, and nobody else can begin to while the lock is held.
struct reserved_path {
  sockaddr_un address;
  file_descriptor lock;
};

result<reserved_path> reserve(const std::string &path) {
  const auto address = address_of(path);
  if (!address) {
    return cannot_listen(
        path, fmt::format("the path of a socket has 1 to {} bytes", sizeof address->sun_path - 1));
  }
  auto lock = lock_folder_of(path);
  if (!lock) {
    return std::unexpected{lock.error()};
  }
  if (const auto removed = remove_if_dead(path, *address); !removed) {
    return std::unexpected{removed.error()};
  }
  return reserved_path{*address, std::move(*lock)};
}

} // namespace

std::expected<file_descriptor, std::error_code> connect_to(const std::string &path) {
  const auto address = address_of(path);
  if (!address) {
    return std::unexpected{std::make_error_code(std::errc::filename_too_long)};
  }
  file_descriptor made{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  if (!made.is_open() || ::connect(made.get(), generic(*address), sizeof *address) != 0) {
    return std::unexpected{system_error()};
  }
  return made;
}

result<> remove_dead_socket(const std::string &path) {
  const auto reserved = reserve(path);
  return reserved ? result<>{} : std::unexpected{reserved.error()};
}

result<listening_socket> listening_socket::at(const std::string &path) {
  const auto reserved = reserve(path);
  if (!reserved) {
    return std::unexpected{reserved.error()};
  }
  file_descriptor made{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  // On Linux bind() gives the file the mode of the unbound socket, less the umask (unix(7)), so
  // there is no moment at which others could connect.
  struct stat file{};
  if (!made.is_open() || ::fchmod(made.get(), S_IRUSR | S_IWUSR) != 0 ||
      ::bind(made.get(), generic(reserved->address), sizeof reserved->address) != 0 ||
      ::lstat(path.c_str(), &file) != 0 || ::listen(made.get(), backlog) != 0) {
    return cannot_listen(path, system_error().message());
  }
  return listening_socket{std::move(made), path, file};
}

listening_socket::~listening_socket() {
  struct stat found{};
  if (::lstat(path_.c_str(), &found) == 0 && found.st_dev == made_.st_dev &&
      found.st_ino == made_.st_ino) {
    ::unlink(path_.c_str());
  }
}

} // namespace dmcache
