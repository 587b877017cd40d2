// The superblock to repair by: the one on the device, or what stands for it where it is damaged.
#pragma once

#include <string>
#include <vector>

#include "base/report.h"
#include "caching/tools/cache_facts.h"

namespace dmcache {

struct superblocks {
  superblock input;                // leads to what is to be read
  superblock output;               // what is to be written; its roots mean nothing
  std::vector<std::string> faults; // of the fields of one that is valid as a whole
  bool device_failed = false;      // it can't be read, or others that were searched can't
};

// A superblock that can be read must agree with `known`; what is wrong with its fields is told and
// mended. If its checksum is wrong, its fields count as far as the device confirms them, and what
// else is needed comes from `known`; a cache is never taken to be clean then.
result<superblocks> find_superblocks(device &from, const cache_facts &known, bool use_stale,
                                     report &to);

} // namespace dmcache
