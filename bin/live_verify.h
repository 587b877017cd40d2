// cache_ctl verify: has a cache that is served compared with its origin.
#pragma once

#include "base/report.h"
#include "bin/control/control_client.h"

namespace dmcache {

struct live_verify_options {
  bool list = false;        // tells each clean block that differs, and each dirty one that is equal
  bool clear_equal = false; // dirty blocks that are equal become clean
  bool drop_stale = false;  // clean blocks that differ leave the cache
  bool accepts_differing = false; // they do though most clean blocks differ
  bool as_json = false;           // the answer is a JSON object
};

// Tells what the server finds, and fails as cache_verify does (caching/tools/verify.h).
result<> verify_live(control_client &server, const live_verify_options &how, report &to);

} // namespace dmcache
