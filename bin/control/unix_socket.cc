#include "bin/control/unix_socket.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "base/file_identity.h"

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

// Whoever takes a path for a socket, or removes a socket from it, has its lock meanwhile: two servers
// that start at the same time take turns by this, so that neither takes the other's socket for a dead
// one. The lock is a file beside the socket, which goes with it. Nobody but its owner can open that
// file, and so keep others from the lock, as anybody could with the folder.
class path_lock {
 public:
  static result<path_lock> take(const std::string &path);
  path_lock(path_lock &&other) noexcept
      : name_{std::exchange(other.name_, {})}, file_{std::move(other.file_)} {}
  path_lock &operator=(path_lock &&) = delete;
  ~path_lock() {
    if (!name_.empty()) {
      ::unlink(name_.c_str()); // while it is locked: whoever waits for it then makes another one
    }
  }

 private:
  path_lock(std::string name, file_descriptor file)
      : name_{std::move(name)}, file_{std::move(file)} {}

  std::string name_;
  file_descriptor file_;
};

// Not open if it can't be, with the reason in errno.
file_descriptor open_lock(const std::string &name) {
  return file_descriptor{
      ::open(name.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR)};
}

result<path_lock> path_lock::take(const std::string &path) {
  constexpr std::chrono::milliseconds patience{2000};
  constexpr std::chrono::milliseconds between{10};
  std::string name = path + ".lock";
  for (auto waited = between; waited <= patience; waited += between) {
    file_descriptor file = open_lock(name);
    struct stat opened{};
    if (!file.is_open() || ::fstat(file.get(), &opened) != 0) {
      return cannot_listen(path, fmt::format("its folder: {}", system_error().message()));
    }
    if (opened.st_uid != ::geteuid()) {
      return cannot_listen(path, fmt::format("{} is another user's: choose another path", name));
    }
    struct stat present{};
    if (::flock(file.get(), LOCK_EX | LOCK_NB) == 0 && ::lstat(name.c_str(), &present) == 0 &&
        identity_of(opened) == identity_of(present)) {
      return path_lock{std::move(name), std::move(file)};
    }
    std::this_thread::sleep_for(between);
  }
  return cannot_listen(path, fmt::format("{} is locked by another server: try again", name));
}

// Requires the lock of the path.
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
  path_lock lock;
};

result<reserved_path> reserve(const std::string &path) {
  const auto address = address_of(path);
  if (!address) {
    return cannot_listen(
        path, fmt::format("the path of a socket has 1 to {} bytes", sizeof address->sun_path - 1));
  }
  auto lock = path_lock::take(path);
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

result<listening_socket> listening_socket::at(const std::string &path,
                                              const socket_access &access) {
  const auto reserved = reserve(path);
  if (!reserved) {
    return std::unexpected{reserved.error()};
  }
  file_descriptor made{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  // On Linux bind() gives the file the mode of the unbound socket, less the umask (unix(7)), so
  // there is no moment at which others could connect.
  if (!made.is_open() || ::fchmod(made.get(), S_IRUSR | S_IWUSR) != 0 ||
      ::bind(made.get(), generic(reserved->address), sizeof reserved->address) != 0) {
    return cannot_listen(path, system_error().message());
  }
  socket_file file{path};
  const auto given = give_access(path, access);
  if (!given || ::listen(made.get(), backlog) != 0) {
    const auto failed =
        given ? cannot_listen(path, system_error().message()) : std::unexpected{given.error()};
    ::unlink(path.c_str());
    return failed;
  }
  return listening_socket{std::move(made), std::move(file)};
}

socket_file::socket_file(std::string path) : path_{std::move(path)} {
  if (::lstat(path_.c_str(), &made_) != 0) {
    path_.clear();
  }
}

// The number of an inode is soon another file's; the time at which it was made isn't.
bool socket_file::is_still_there() const {
  struct stat found{};
  return !path_.empty() && ::lstat(path_.c_str(), &found) == 0 &&
         identity_of(found) == identity_of(made_) && found.st_mtim.tv_sec == made_.st_mtim.tv_sec &&
         found.st_mtim.tv_nsec == made_.st_mtim.tv_nsec;
}

void socket_file::remove() const {
  if (!is_still_there()) {
    return;
  }
  const auto lock = path_lock::take(path_);
  if (lock && is_still_there()) {
    ::unlink(path_.c_str());
  }
}

} // namespace dmcache
