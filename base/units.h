// The units of the project as types: a length in bytes or sectors, and the ordinal of a metadata,
// cache or origin block. Mixing two of them does not compile.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>

#include <fmt/format.h>

namespace dmcache {

// A number of `Tag`. Adding a plain number moves an ordinal or lengthens a length by that many.
template <typename Tag> class unit {
 public:
  constexpr unit() = default;
  constexpr explicit unit(std::uint64_t value) : value_{value} {}

  constexpr std::uint64_t value() const { return value_; }

  constexpr auto operator<=>(const unit &) const = default;

  constexpr unit &operator++() {
    ++value_;
    return *this;
  }

  friend constexpr unit operator+(unit left, std::uint64_t count) {
    return unit{left.value_ + count};
  }

 private:
  std::uint64_t value_{0};
};

using bytes = unit<struct bytes_tag>;
using sectors = unit<struct sectors_tag>; // of 512 bytes

using metadata_block = unit<struct metadata_block_tag>; // of 4096 bytes, on the metadata device
using cache_block = unit<struct cache_block_tag>;       // on the fast device
using origin_block = unit<struct origin_block_tag>;     // on the origin

inline constexpr std::uint64_t sector_size = 512;

// How many units of `by` it takes to hold `count`: the quotient, rounded up.
constexpr std::uint64_t divided_up(std::uint64_t count, std::uint64_t by) {
  return count / by + (count % by != 0 ? 1 : 0);
}

constexpr bytes to_bytes(sectors length) {
  return bytes{length.value() * sector_size};
}

} // namespace dmcache

template <typename Tag> struct fmt::formatter<dmcache::unit<Tag>> : fmt::formatter<std::uint64_t> {
  template <typename Context> auto format(dmcache::unit<Tag> number, Context &context) const {
    return fmt::formatter<std::uint64_t>::format(number.value(), context);
  }
};
