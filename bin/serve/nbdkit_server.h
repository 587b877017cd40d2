// Runs nbdkit with the plugin that serves a cache.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "base/report.h"
#include "base/result.h"
#include "bin/control/socket_access.h"
#include "bin/serve/passed_options.h"
#include "bin/serve/tcp_address.h"
#include "caching/engine/cache_state.h"
#include "caching/runtime/cache_files.h"

namespace dmcache {

// How clients prove who they are, and what they and the server send is kept from others. Both are
// absolute paths, of which one at most is given. Without, there is no TLS.
struct tls_options {
  std::string certificates; // a folder with the server's, and that of who signs its clients'
  std::string shared_keys;  // a file with a line for each user, NAME:KEY

  bool is_on() const { return !certificates.empty() || !shared_keys.empty(); }
};

struct serve_options {
  cache_paths paths; // absolute, as are all paths that follow
  engine_options engine;
  std::string socket; // to serve at. If empty, `tcp` counts, or a command gets a temporary socket
  std::optional<tcp_address> tcp;
  tls_options tls;
  std::string control;  // a socket for cache_ctl; empty if there is to be none
  socket_access access; // to these two sockets
  std::string status;   // a socket that tells everybody the status; empty if there is to be none
  std::string run;      // a command for the shell; empty if there is none
  bool foreground = false;
  unsigned max_connections = 64;
  passed_options passed;
  std::string log; // "stderr", "journal" or a path; empty for what is best (server_log.h)
};

// The URI that clients connect to, "nbd+unix:///?socket=/run/cache" for example.
std::string uri_of(const serve_options &options);

// The path of nbdkit and its arguments, to be started without a shell and watched by the parent.
// It gets `nr_locks` descriptors, by which the cache's files are locked. Fails with
// failure::environment if nbdkit or the plugin isn't there.
result<std::vector<std::string>> nbdkit_command(const serve_options &options, std::size_t nr_locks);

// Runs nbdkit under a supervisor, which starts it again when it dies (supervisor.h). Without a
// command to run, `to` is told the URI as soon as clients are answered. In the background this
// returns then; in the foreground, or with a command, it returns when nbdkit has ended. The value
// is the exit code: that of the command, or 128 and the number of the signal that killed it.
result<int> run_nbdkit(const serve_options &options, report &to);

} // namespace dmcache
