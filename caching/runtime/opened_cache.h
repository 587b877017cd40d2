// Opens a cache, in one way for all who run it or ask whether it could be run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/device.h"
#include "base/result.h"
#include "caching/engine/cache_engine.h"
#include "caching/runtime/cache_files.h"

namespace dmcache {

// How the fast device and the origin are read and written. The metadata always are directly.
enum class data_io : std::uint8_t {
  direct,     // past the page cache, in multiples of the larger logical block size of the two
  page_cache, // in multiples of a sector
};

// The three devices of a cache, which are this process's alone for as long as it has them open.
struct opened_cache {
  cache_files files;
  std::unique_ptr<device> metadata; // files.metadata once more, under the same lock
  std::size_t granularity = 0;      // of I/O on the fast device and the origin, in bytes

  // Opens and locks the devices, which must be different ones, and writes to none of them.
  static result<opened_cache> open(const cache_paths &paths, access mode, data_io io);
  // Of files that are open and locked, and read and written in such multiples.
  static result<opened_cache> of(cache_files files, const cache_paths &paths,
                                 std::size_t granularity);

  // What is left of a data device beyond a multiple of `granularity` isn't used.
  sectors usable_size(const opened_file &of) const;

  // Activates the cache. `metadata_used` is `metadata`, or a device that stands for it; it must
  // outlive the engine.
  result<std::unique_ptr<cache_engine>> activate(device &metadata_used,
                                                 const engine_options &options) const;
};

} // namespace dmcache
