// cache_repair: sound metadata from what can be read of damaged metadata.
#pragma once

#include <functional>
#include <memory>

#include "base/report.h"
#include "caching/tools/metadata_device.h"

namespace dmcache {

// Opens the output of a repair; asked for only once it is known that there will be one.
using open_device = std::function<result<std::unique_ptr<device>>()>;

// Tells `to` what is damaged and what is lost by it, and writes the rest. What is unknown is dirty;
// after anything but a clean shutdown everything is, and hints and discards are left out.
result<> repair(metadata_device metadata, const open_device &open, report &to);

} // namespace dmcache
