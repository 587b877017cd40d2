// Writes what a cache is asked for to a file.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "base/report.h"
#include "base/result.h"
#include "base/units.h"
#include "bin/control/control_client.h"

namespace dmcache {

struct recording_options {
  std::string path;                            // "-" is standard output
  std::optional<std::chrono::seconds> at_most; // none: until it is stopped
  bytes max_size;                              // of the file
};

// Records until that is enough, until a signal asks for a stop, or until the cache ends. Tells `to` how
// much it was, and what is missing. What was recorded is kept even if the server dies.
result<> record(control_client &server, const recording_options &how, report &to);

} // namespace dmcache
