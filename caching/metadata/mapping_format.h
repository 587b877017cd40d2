// An entry of the mapping array: origin block and flags. persistent-data/format.md: "Array".
#pragma once

#include <cstdint>

namespace dmcache {

inline constexpr unsigned mapping_flag_bits = 16; // above them, the origin block
inline constexpr std::uint64_t mapping_flag_mask = (std::uint64_t{1} << mapping_flag_bits) - 1;
inline constexpr std::uint64_t max_origin_block = ~std::uint64_t{0} >> mapping_flag_bits;

inline constexpr std::uint64_t mapping_valid = 1;
inline constexpr std::uint64_t mapping_dirty = 2; // version 1 only

} // namespace dmcache
