#include <algorithm>
#include <unordered_set>

#include "bench/replay/trace.h"

namespace dmcache {

footprint measure(const std::vector<trace_request> &trace, bytes block_size) {
  std::unordered_set<std::uint64_t> touched;
  std::uint64_t end = 0;
  for (const trace_request &request : trace) {
    const std::uint64_t at = to_bytes(request.start).value();
    const std::uint64_t past = at + request.length.value();
    for (std::uint64_t block = at / block_size.value(); block * block_size.value() < past;
         ++block) {
      touched.insert(block);
      end = std::max(end, block + 1);
    }
  }
  return {touched.size(), end};
}

} // namespace dmcache
