// What cache_serve passes on to nbdkit: filters and their parameters, and the options of nbdkit that
// have nothing to do with how a cache is served.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace dmcache {

struct passed_options {
  std::vector<std::string> options;    // before the plugin
  std::vector<std::string> parameters; // KEY=VALUE, after the plugin and its parameters
};

// Takes the words that follow "--" on cache_serve's command line. Fails with failure::usage on those
// that could change what cache_serve has decided: which plugin runs, where it is served, who watches it.
result<passed_options> take_passed_options(std::span<const std::string> words);

} // namespace dmcache
