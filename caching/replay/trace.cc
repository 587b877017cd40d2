#include "caching/replay/trace.h"

#include <utility>

namespace dmcache {

footprint measure(std::span<const trace_request> requests, bytes block_size) {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges; // the first block, and past the last
  ranges.reserve(requests.size());
  for (const trace_request &request : requests) {
    const std::uint64_t begin = to_bytes(request.start).value();
    const std::uint64_t end = begin + request.length.value();
    if (begin < end) {
      ranges.emplace_back(begin / block_size.value(), divided_up(end, block_size.value()));
    }
  }
  std::ranges::sort(ranges);
  footprint found{0, 0, 0};
  for (const auto &[begin, end] : ranges) {
    const std::uint64_t first_new = std::max(begin, found.nr_origin_blocks);
    found.nr_touched += std::max(end, first_new) - first_new;
    found.nr_origin_blocks = std::max(found.nr_origin_blocks, end);
    found.nr_accesses += end - begin;
  }
  return found;
}

} // namespace dmcache
