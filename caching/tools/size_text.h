// Numbers and sizes as people write them.
#pragma once

#include <charconv>
#include <optional>
#include <string_view>

#include "base/result.h"
#include "base/units.h"

namespace dmcache {

// `text`, if it is a number of this type and nothing else.
template <typename Integer> std::optional<Integer> whole_number(std::string_view text) {
  Integer value{};
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failed != std::errc{} || end != text.data() + text.size()) {
    return {};
  }
  return value;
}

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
