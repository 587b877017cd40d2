// What a block device was asked for.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "base/units.h"

namespace dmcache {

struct trace_request {
  double time; // seconds, not negative; never less than that of the request before
  bool is_write;
  sectors start;
  bytes length;
};

// With these limits, neither the end of a request in bytes nor a time in whole seconds can overflow.
inline constexpr std::uint64_t max_trace_sector = std::uint64_t{1} << 54;
inline constexpr std::uint64_t max_trace_length = std::uint64_t{1} << 32; // bytes
inline constexpr double max_trace_time = 1e15;

struct trace {
  std::vector<trace_request> requests;
  std::uint64_t nr_discards = 0; // which are left out
};

// Calls touch(block, length) for each block that the request touches, in order; `length` says how
// much of the block.
template <typename Touch>
void for_each_block(const trace_request &request, bytes block_size, Touch touch) {
  std::uint64_t at = to_bytes(request.start).value();
  const std::uint64_t end = at + request.length.value();
  while (at < end) {
    const std::uint64_t block = at / block_size.value();
    const std::uint64_t next = std::min(end, (block + 1) * block_size.value());
    touch(origin_block{block}, bytes{next - at});
    at = next;
  }
}

// How many blocks of some size a trace touches.
struct footprint {
  std::uint64_t nr_touched;
  std::uint64_t nr_origin_blocks; // up to the last one touched
  std::uint64_t nr_accesses;      // a request is one to each block that it touches
};
// Takes memory for the requests, however many blocks each one touches.
footprint measure(std::span<const trace_request> requests, bytes block_size);

} // namespace dmcache
