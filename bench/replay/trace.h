// What a block device was asked for, one request a line: time in seconds, R or W, the first sector
// of 512 bytes, and the number of bytes, as in "12.5,R,2048,4096".
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/units.h"

namespace dmcache {

struct trace_request {
  double time; // seconds; never less than that of the request before
  bool is_write;
  sectors start;
  bytes length;
};

// From a file, compressed with gzip or not. The first line may name the columns. Whatever else is
// wrong fails with failure::failed and the number of its line.
result<std::vector<trace_request>> read_trace(const std::string &path);

// Over an hour a set of hot blocks, of which some are far hotter than others and which changes all
// the time; scans; and pauses. The same for the same seed, on every machine.
std::vector<trace_request> generate_trace(std::uint64_t seed);

} // namespace dmcache
