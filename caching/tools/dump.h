// cache_dump: the metadata of a cache as XML.
#pragma once

#include <functional>

#include "base/output_file.h"
#include "base/report.h"
#include "caching/tools/metadata_device.h"

namespace dmcache {

struct dump_options {
  bool repair = false;
  bool as_stored = false;
};

// Opens the output of a dump. It is called only once it is known that there will be one.
using open_output = std::function<result<output_file>()>;

// Without `repair`, nothing is written if anything is damaged that a dump says. With it, what can
// be read is written, and what can't be is told to `to`; failure::environment if that is so because
// the device failed.
result<> dump(metadata_device metadata, const dump_options &options, const open_output &open,
              report &to);

} // namespace dmcache
