// Whole numbers of JSON that others wrote. The library's own conversions take a negative number, a
// fraction, or one that is too large, for any other.
#pragma once

#include <cstdint>
#include <limits>

#include <nlohmann/json.hpp>

namespace dmcache {

// Throws, as the library does where a value is of another kind, if it is no number of this type.
template <typename Number = std::uint64_t> Number json_number(const nlohmann::ordered_json &from) {
  using json = nlohmann::ordered_json;
  const auto number = from.get_ref<const json::number_unsigned_t &>();
  if (number > std::numeric_limits<Number>::max()) {
    throw json::out_of_range::create(406, "number out of range", &from);
  }
  return static_cast<Number>(number);
}

} // namespace dmcache
