// cache_writeback: what is dirty in a cache, copied to its origin.
#pragma once

#include <cstdint>

#include "base/report.h"
#include "caching/tools/metadata_device.h"

namespace dmcache {

struct writeback_options {
  sectors origin_offset{}; // where the origin begins on its device
  sectors fast_offset{};   // where the cache blocks begin on the fast device
  std::uint64_t buffer_size = std::uint64_t{64} << 20; // bytes
  std::uint64_t nr_retries = 0;
  bool list_failed = false;
  bool update_metadata = true;
};

// Copies nothing if what the metadata say of mappings and dirty bits is damaged. After anything but
// a clean shutdown every mapped block is dirty. A block that can't be copied is told to `to`, and
// stays dirty; the flags of the others are cleared once the origin holds them durably.
result<> write_back(const metadata_device &metadata, device &origin, device &fast,
                    const writeback_options &options, report &to);

} // namespace dmcache
