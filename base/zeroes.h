// Zeroes, which most devices are made of before anybody has written to them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>

namespace dmcache {

inline bool is_all_zero(std::span<const std::byte> data) {
  return std::ranges::all_of(data, [](std::byte each) { return each == std::byte{}; });
}

} // namespace dmcache
