// Zeroes, which most devices are made of before anybody has written to them.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>

namespace dmcache {

inline bool is_all_zero(std::span<const std::byte> data) {
  // Each is what the one before it is.
  return data.empty() || (data.front() == std::byte{} &&
                          std::memcmp(data.data(), data.data() + 1, data.size() - 1) == 0);
}

} // namespace dmcache
