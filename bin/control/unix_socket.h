// Unix sockets that have a path in the file system.
#pragma once

#include <sys/stat.h>

#include <expected>
#include <string>
#include <system_error>
#include <utility>

#include "base/file_descriptor.h"
#include "base/result.h"
#include "bin/control/socket_access.h"

namespace dmcache {

// The file of a socket.
class socket_file {
 public:
  socket_file() = default; // of none
  // That which is at `path` now.
  explicit socket_file(std::string path);

  // Removes it, unless another one has taken its place.
  void remove() const;

 private:
  bool is_still_there() const;

  std::string path_; // empty if there was none
  struct stat made_{};
};

// A socket that a server listens at. The destructor removes it from the file system.
class listening_socket {
 public:
  // Listens at `path`, and replaces a socket there whose server is dead. Nobody whom `access` keeps
  // out can connect at any moment; without it, nobody but the user of this process can. Fails with
  // failure::environment if a server listens there, something else than a socket is there, or the
  // socket can't be made accessible.
  static result<listening_socket> at(const std::string &path, const socket_access &access = {});

  listening_socket(listening_socket &&) = default;
  listening_socket &operator=(listening_socket &&) = delete;
  ~listening_socket() { file_.remove(); }

  // Gives the descriptor, which doesn't block, to the caller.
  file_descriptor take_descriptor() { return std::move(descriptor_); }

 private:
  listening_socket(file_descriptor descriptor, socket_file file)
      : descriptor_{std::move(descriptor)}, file_{std::move(file)} {}

  file_descriptor descriptor_;
  socket_file file_;
};

// Removes the socket at `path` if its server is dead. Fails with failure::environment if a server
// listens there, or something else than a socket is there.
result<> remove_dead_socket(const std::string &path);

// Connects to the server at `path`. Fails with the system's error.
std::expected<file_descriptor, std::error_code> connect_to(const std::string &path);

} // namespace dmcache
