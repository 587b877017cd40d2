// What can be asked of whatever holds data: a file, a device, a cache.
#pragma once

#include <cstdint>

namespace dmcache {

enum class io_operation : std::uint8_t {
  read,
  write,
  flush,        // makes durable all writes that ended before this was submitted
  discard,      // says that the range isn't needed: what is read of it later is old, or zero
  write_zeroes, // like a write of zeroes
  prefetch,     // for caches only: a hint that the range will be read
};

} // namespace dmcache
