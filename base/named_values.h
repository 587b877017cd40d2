// Lists of values and their names, one entry for each value of an enumeration.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <string_view>
#include <utility>

namespace dmcache {

template <typename Value, std::size_t count>
using named_values = std::array<std::pair<Value, std::string_view>, count>;

// Requires that the value is in the list.
template <typename Value, std::size_t count>
std::string_view name_in(const named_values<Value, count> &list, Value value) {
  return std::ranges::find(list, value, &std::pair<Value, std::string_view>::first)->second;
}

template <typename Value, std::size_t count>
std::optional<Value> value_in(const named_values<Value, count> &list, std::string_view name) {
  const auto *found = std::ranges::find(list, name, &std::pair<Value, std::string_view>::second);
  return found == list.end() ? std::nullopt : std::optional{found->first};
}

} // namespace dmcache
