// The plugin's parameters on nbdkit's command line, checked as nbdkit's own plugins check theirs.
#pragma once

#include <string>
#include <vector>

#include "bin/control/control_server.h"
#include "caching/runtime/threaded_runtime.h"

namespace dmcache {

struct nbdkit_parameters {
  nbdkit_parameters() { options.may_format = false; }

  // These serve nbdkit's callbacks of the same names. They tell nbdkit what is wrong and return -1,
  // or return 0.
  int config(const std::string &key, const char *value);
  int config_complete() const;

  cache_paths paths; // absolute
  engine_options options;
  control_addresses control; // absolute
  int settings_to = -1;      // the descriptor that is told of changes; negative if there is none
  std::vector<int> locks;    // descriptors by which files of the cache are locked
  unsigned max_connections = 64; // at a time
  bool are_complete = false;     // what follows is for filters alone
};

extern const char *const nbdkit_parameters_help;

} // namespace dmcache
