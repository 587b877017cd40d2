// cache_repair: sound metadata from what can be read of damaged metadata.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "base/report.h"
#include "caching/tools/cache_facts.h"

namespace dmcache {

// Opens the output of a repair. It is called only once it is known that there will be one.
using open_device = std::function<result<std::unique_ptr<device>>()>;

// What a repair that wrote its output could not save.
struct repair_losses {
  std::uint64_t nr_blocks = 0; // cache blocks that are lost and not known to have been clean
  bool device_failed = false;  // the input, rather than its contents being wrong
};

// Tells `to` what is damaged and what is lost by it, writes the rest, and answers with a summary.
// What is unknown becomes dirty; after anything but a clean shutdown everything does, and hints and
// discards are left out. What only earlier versions of the metadata say is reported, and taken if
// `use_stale`. A superblock that can't be read is replaced by what its remains and `known` say and
// what is found on the device; one that can be read must agree with `known`.
result<repair_losses> repair(device &from, const cache_facts &known, bool use_stale,
                             const open_device &open, report &to);

// Answers with the mapping trees that are on the device, the one in force and earlier ones.
result<> list_roots(device &from, const cache_facts &known, report &to);

} // namespace dmcache
