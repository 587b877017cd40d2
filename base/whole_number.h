// Numbers as people write them.
#pragma once

#include <charconv>
#include <optional>
#include <string_view>

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

} // namespace dmcache
