// Integers as they lie on disk: least significant byte first, at any alignment.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace dmcache {

template <typename Integer> class little_endian {
 public:
  constexpr little_endian() = default;
  // Implicit in both directions, so that a disk structure reads like one of plain integers.
  constexpr little_endian(Integer value) : raw_{to_raw(value)} {} // NOLINT(*-explicit-*)
  constexpr operator Integer() const { return std::bit_cast<Integer>(native(raw_)); } // NOLINT

 private:
  using raw = std::array<std::byte, sizeof(Integer)>;

  static constexpr raw native(raw stored) {
    if constexpr (std::endian::native == std::endian::big) {
      std::reverse(stored.begin(), stored.end());
    }
    return stored;
  }
  static constexpr raw to_raw(Integer value) { return native(std::bit_cast<raw>(value)); }

  raw raw_{};
};

using le16 = little_endian<std::uint16_t>;
using le32 = little_endian<std::uint32_t>;
using le64 = little_endian<std::uint64_t>;

static_assert(sizeof(le64) == 8 && alignof(le64) == 1);

} // namespace dmcache
