// Base64, as hints and UUIDs stand in a document (RFC 4648, with padding): of raw bytes whose number is
// known to the compiler.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace dmcache {

inline constexpr std::string_view base64_digits =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
inline constexpr std::uint32_t no_base64_digit = 64;
inline constexpr std::array<std::uint8_t, 256> base64_values = [] {
  std::array<std::uint8_t, 256> value_of{};
  value_of.fill(no_base64_digit);
  for (std::size_t value = 0; value < base64_digits.size(); ++value) {
    value_of.at(static_cast<unsigned char>(base64_digits[value])) =
        static_cast<std::uint8_t>(value);
  }
  return value_of;
}();

// Each three bytes become four digits; "=" stands for what the last ones lack.
template <std::size_t Size> auto encode_base64(std::span<const std::byte, Size> raw) {
  constexpr std::size_t digits = (Size + 2) / 3 * 4;
  std::array<char, digits> out{};
  for (std::size_t i = 0, o = 0; i < Size; i += 3, o += 4) {
    const auto at = [&](std::size_t k) {
      return i + k < Size ? std::to_integer<std::uint32_t>(raw[i + k]) : 0;
    };
    const std::uint32_t group = at(0) << 16 | at(1) << 8 | at(2);
    out[o] = base64_digits[group >> 18];
    out[o + 1] = base64_digits[group >> 12 & 63];
    out[o + 2] = i + 1 < Size ? base64_digits[group >> 6 & 63] : '=';
    out[o + 3] = i + 2 < Size ? base64_digits[group & 63] : '=';
  }
  return out;
}

// Exactly as many bytes as there is room for, in whole groups of four digits, padded with '='. Hints
// are most of a large document, so that this has no branch for a digit.
template <std::size_t size>
bool decode_base64(std::string_view text, std::span<std::byte, size> into) {
  constexpr std::size_t groups = (size + 2) / 3;
  if (text.size() != groups * 4) {
    return false;
  }
  std::uint32_t wrong = 0;
  for (std::size_t group = 0; group < groups; ++group) {
    const std::size_t nr_bytes = std::min<std::size_t>(3, size - group * 3);
    std::uint32_t bits = 0;
    for (std::size_t i = 0; i < 4; ++i) {
      const auto each = static_cast<unsigned char>(text[group * 4 + i]);
      const bool is_padding = i > nr_bytes;
      const std::uint32_t digit =
          is_padding ? (each == '=' ? 0 : no_base64_digit) : base64_values[each];
      wrong |= digit;
      bits = bits << 6 | (digit & (no_base64_digit - 1));
    }
    for (std::size_t i = 0; i < nr_bytes; ++i) {
      into[group * 3 + i] = static_cast<std::byte>(bits >> (16 - 8 * i));
    }
    const std::uint32_t left_over = bits & ((1U << (24 - 8 * nr_bytes)) - 1); // says nothing
    wrong |= left_over != 0 ? no_base64_digit : 0;
  }
  return wrong < no_base64_digit;
}

} // namespace dmcache
