// Sizes as people write them.
#pragma once

#include <string_view>

#include "base/result.h"
#include "base/units.h"

namespace dmcache {

// A unit of size: b, s (sectors), or a multiple; small letters are binary, capitals decimal.
struct size_unit {
  char letter;
  std::string_view name; // singular
  std::uint64_t in_bytes;
};

// The unit of this letter or name ("k", "kibibyte"); null if there is none.
const size_unit *find_size_unit(std::string_view text);

// "64k", "10g", "128": a whole number and a unit; sectors if it has none. Fails with
// failure::usage.
result<bytes> parse_size(std::string_view text);

} // namespace dmcache
