// The three files or block devices of a cache.
#pragma once

#include <string>

#include "base/opened_file.h"
#include "base/result.h"

namespace dmcache {

struct cache_paths {
  std::string metadata;
  std::string fast;
  std::string origin;
  locking files_locked_by = locking::own;
};

struct cache_files {
  opened_file metadata;
  opened_file fast;
  opened_file origin;
};

// Opens and locks all three, as open_file() does. No two of them may share storage.
result<cache_files> open_cache_files(const cache_paths &paths, access mode);

} // namespace dmcache
