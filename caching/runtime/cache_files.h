// The three files or block devices of a cache, or the parts of such that they are.
#pragma once

#include "base/device_part.h"
#include "base/opened_file.h"
#include "base/result.h"

namespace dmcache {

struct cache_paths {
  device_part metadata;
  device_part fast;
  device_part origin;
  locking files_locked_by = locking::own;
};

struct cache_files {
  opened_file metadata;
  opened_file fast;
  opened_file origin;
};

// Opens and locks all three, as open_files() does. No two of them may share storage, nor, if they
// are parts of one file, a page of memory: one of them may go through the page cache and another
// past it, and a page that is written back as a whole would undo what went past it.
result<cache_files> open_cache_files(const cache_paths &paths, access mode);

} // namespace dmcache
