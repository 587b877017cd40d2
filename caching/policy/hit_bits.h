// Which entries were hit in this period.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/units.h"

namespace dmcache {

class hit_bits {
 public:
  explicit hit_bits(std::uint64_t count) : words_(divided_up(count, word_bits)) {}

  bool contains(std::uint32_t entry) const {
    return (words_[entry / word_bits] & bit_of(entry)) != 0;
  }
  void insert(std::uint32_t entry) { words_[entry / word_bits] |= bit_of(entry); }
  void remove(std::uint32_t entry) { words_[entry / word_bits] &= ~bit_of(entry); }
  void clear() { std::ranges::fill(words_, 0); }

 private:
  static constexpr std::uint32_t word_bits = 64;

  static std::uint64_t bit_of(std::uint32_t entry) { return std::uint64_t{1} << entry % word_bits; }

  std::vector<std::uint64_t> words_;
};

} // namespace dmcache
