// What stands on nbdkit's command line for the plugin, checked as nbdkit's own plugins do it.
#pragma once

#include <string>

#include "caching/runtime/threaded_runtime.h"

namespace dmcache {

struct nbdkit_parameters {
  nbdkit_parameters() { options.may_format = false; }

  // As nbdkit's callbacks of these names: -1 after having told nbdkit what is wrong, else 0.
  int config(const std::string &key, const char *value);
  int config_complete() const;

  cache_paths paths; // absolute
  engine_options options;
  std::string control_socket; // absolute; empty: none
};

extern const char *const nbdkit_parameters_help;

} // namespace dmcache
