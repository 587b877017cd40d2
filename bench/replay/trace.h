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

// Reads a trace from a file, compressed with gzip or not. The first line may name the columns. If
// any other line is wrong, this fails with failure::failed and the number of the line.
result<std::vector<trace_request>> read_trace(const std::string &path);

// Makes up an hour of requests: to a set of hot blocks, some of them far hotter than others, which
// changes all the time; scans; and pauses. The same seed gives the same trace on every machine.
std::vector<trace_request> generate_trace(std::uint64_t seed);

// How many blocks of some size a trace touches.
struct footprint {
  std::uint64_t nr_touched;
  std::uint64_t nr_origin_blocks; // up to the last one touched
};
footprint measure(const std::vector<trace_request> &trace, bytes block_size);

} // namespace dmcache
