// What becomes of one block of the origin, and why.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/units.h"
#include "caching/policy/policy.h"

namespace dmcache {

struct block_explanation {
  bytes begin; // on the origin
  bytes length;
  origin_block block;
  std::optional<cache_block> cached_in;
  bool is_dirty = false;                    // of one that is cached
  std::string policy;                       // its name
  std::vector<block_account::count> counts; // the policy's
  std::vector<std::string> sentences;       // all of this, in words
};

} // namespace dmcache
