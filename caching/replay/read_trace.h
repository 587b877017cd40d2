// Traces from files, in each of the formats.
#pragma once

#include <optional>
#include <string>

#include "base/progress.h"
#include "base/result.h"
#include "caching/replay/trace_parser.h"

namespace dmcache {

struct trace_source {
  std::string path; // of a file, compressed with gzip or not; "-" is standard input
  std::optional<trace_format> format{};
  std::optional<char> event{};         // of blkparse's, otherwise that of queued requests
  std::optional<std::string> device{}; // requests to others don't count
};

// Reads a trace; the format is told by its content if none is given. Fails with failure::failed and
// the number of the line if a line is wrong or too long, if the requests are to more than one
// device and none is chosen, and if there are none or too many; with failure::usage if what is
// chosen isn't in such a trace; and with failure::environment if it can't be read.
result<trace> read_trace(const trace_source &source, progress &watcher);

} // namespace dmcache
