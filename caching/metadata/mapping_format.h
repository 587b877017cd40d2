// An entry of the mapping array, as the device holds it: encoded and decoded here, and nowhere
// else. persistent-data/format.md: "Array".
#pragma once

#include <cstdint>

#include "base/little_endian.h"
#include "base/units.h"
#include "persistent-data/format.h"

namespace dmcache {

class mapping_entry {
 public:
  static constexpr unsigned flag_bits = 16; // above them, the origin block
  static constexpr std::uint64_t flag_mask = (std::uint64_t{1} << flag_bits) - 1;
  static constexpr std::uint64_t max_origin_block = ~std::uint64_t{0} >> flag_bits;

  static constexpr std::uint64_t valid = 1;
  static constexpr std::uint64_t dirty = 2; // version 1 only

  // An entry that maps nothing, which is zero.
  constexpr mapping_entry() = default;
  // Requires that `origin` is at most max_origin_block, and `flags` fit the mask.
  constexpr mapping_entry(origin_block origin, std::uint64_t flags)
      : bits_{origin.value() << flag_bits | flags} {}

  static constexpr mapping_entry decode(std::uint64_t stored) {
    mapping_entry entry;
    entry.bits_ = stored;
    return entry;
  }
  constexpr std::uint64_t encode() const { return bits_; }

  constexpr std::uint64_t flags() const { return bits_ & flag_mask; }
  constexpr bool is_mapped() const { return (bits_ & valid) != 0; }
  constexpr bool has_dirty_flag() const { return (bits_ & dirty) != 0; }
  constexpr origin_block origin() const { return origin_block{bits_ >> flag_bits}; }

  friend constexpr bool operator==(mapping_entry, mapping_entry) = default;

 private:
  std::uint64_t bits_ = 0;
};

// That an array block has room for.
inline constexpr std::uint64_t mappings_per_block = array_max_entries(sizeof(le64));

} // namespace dmcache
