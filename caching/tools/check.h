// cache_check: is the metadata of a cache sound?
#pragma once

#include "base/report.h"
#include "caching/tools/metadata_device.h"

namespace dmcache {

struct check_options {
  bool superblock_only = false;
  bool skip_mappings = false;
  bool skip_hints = false;
  bool skip_discards = false;
  bool ignore_non_fatal = false;
  // If nothing is wrong but leaks and derived fields of the space map, mends these, and clears
  // NEEDS_CHECK. Needs a device that can be written to if there is anything to do, and nothing
  // skipped.
  bool mend = false;
};

// Tells all damage, what it means, and a summary. Writes nothing unless it is to mend. Returns the
// exit code.
int check(const metadata_device &metadata, const check_options &options, report &to);

} // namespace dmcache
