// Traces through the engine on files, with an origin that is as slow as a disk: what policies make of
// them. The engine and its I/O are real; time is simulated, so that hours pass in seconds and nobody
// else on the machine matters.
#pragma once

#include <string>
#include <vector>

namespace dmcache {

// For each trace, as read_trace() takes it: sift and smq side by side, in a cache of a tenth of the
// blocks of 64 KiB that the trace touches. Requests come as fast as they are served, eight at a time,
// whenever the trace has them. Prints the time that it takes, the hits, and what is written to the
// fast device. Returns an exit code; what fails is told on standard error.
//
// The origin is a disk that does one thing after another: 8 ms a seek, 0.5 ms to skip up to 1 MiB, 5 us
// a KiB, 8 ms a flush. The other devices are SSDs: 80 us and 0.5 us a KiB to read, 40 us and 1 us a KiB
// to write, 100 us a flush.
int replay_on_slow_origin(const std::string &folder, const std::vector<std::string> &traces);

} // namespace dmcache
