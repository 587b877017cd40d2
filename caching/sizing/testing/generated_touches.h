// Streams of touched blocks for tests, which are the same on every machine.
#pragma once

#include <cstdint>
#include <vector>

#include "base/chance.h"
#include "base/units.h"

namespace dmcache {

// Blocks of which a few are touched far more often than most, and now and then a scan over some in a row.
inline std::vector<origin_block> generated_touches(std::uint64_t seed, std::size_t count,
                                                   std::uint64_t nr_blocks) {
  chance any{seed};
  std::vector<origin_block> touched;
  while (touched.size() < count) {
    if (any.one_in(2000)) {
      const std::uint64_t begin = any.below(nr_blocks);
      for (std::uint64_t i = 0; i < 500; ++i) {
        touched.emplace_back((begin + i) % nr_blocks);
      }
    } else { // the product of chances is small more often than not
      touched.emplace_back(any.below(any.below(any.below(nr_blocks) + 1) + 1));
    }
  }
  touched.resize(count);
  return touched;
}

} // namespace dmcache
