// nbdkit with the plugin that serves a cache: its command line, and its life (see supervisor.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/report.h"
#include "base/result.h"
#include "caching/engine/cache_state.h"
#include "caching/runtime/cache_files.h"

namespace dmcache {

struct serve_options {
  cache_paths paths; // absolute, as are all that follow
  engine_options engine;
  std::string socket; // to serve at; empty: the port, or, for a command, a temporary one
  std::optional<std::uint16_t> port;
  std::string control; // empty: none
  std::string run;     // a command for the shell; empty: none
  bool foreground = false;
};

// Where clients connect to: "nbd+unix:///?socket=/run/cache".
std::string uri_of(const serve_options &options);

// nbdkit's program and arguments, no shell between; its parent watches it. Fails with
// failure::environment if nbdkit or the plugin isn't there.
result<std::vector<std::string>> nbdkit_command(const serve_options &options);

// Runs nbdkit, and a supervisor that starts it again when it dies. Tells `to` the URI as soon as
// clients are answered, unless there is a command to run. Returns at once then, or, in the
// foreground or with a command, when nbdkit has ended. The value is the exit code: that of the
// command to run, or 128 and the signal that killed it.
result<int> run_nbdkit(const serve_options &options, report &to);

} // namespace dmcache
