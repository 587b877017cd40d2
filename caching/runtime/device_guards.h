// What tells before anything is written that the devices are not those of the cache, or hold something
// that somebody still needs.
#pragma once

#include "base/device.h"
#include "base/opened_file.h"
#include "base/result.h"
#include "caching/engine/options.h"
#include "caching/online-metadata/online_metadata.h"

namespace dmcache {

struct guarded_devices {
  device &fast;
  device &origin;
  const opened_file &fast_file; // of `fast`
  sectors fast_size;
  sectors origin_size;
};

// Fails with failure::failed and a text that names the device, says what is wrong, and by which option
// it is accepted. Sizes are held against those of the last activation; a sample of the clean blocks
// against the origin; what a new cache would overwrite against what libblkid knows.
result<> check_devices(const found_cache &found, const guarded_devices &on,
                       const accepted_devices &accepted);

// Is a metadata device of this size large enough for a new cache of so many blocks? Fails with
// failure::failed and a text that names the size that it needs.
result<> check_metadata_size(bytes size, std::uint64_t nr_cache_blocks);

} // namespace dmcache
