// cache_check: is the metadata of a cache sound?
#pragma once

#include <functional>

#include "base/report.h"
#include "caching/tools/metadata_device.h"

namespace dmcache {

struct check_options {
  bool superblock_only = false;
  bool skip_mappings = false;
  bool skip_hints = false;
  bool skip_discards = false;
  bool ignore_non_fatal = false;
  // Opens the metadata for writing. If set, and nothing is wrong but leaks and derived fields of the
  // space map, these are mended, and NEEDS_CHECK is cleared. It is called only if there is anything
  // to do, since udev looks anew at a device that was open for writing. Requires that nothing is
  // skipped.
  std::function<result<metadata_device>()> open_to_mend{};
};

// Tells all damage, what it means, and a summary. Writes nothing unless it is to mend. Returns the
// exit code.
int check(metadata_device metadata, const check_options &options, report &to);

} // namespace dmcache
