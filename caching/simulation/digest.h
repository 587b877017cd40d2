// A number that stands for everything that happened in a history, in its order: where two differ,
// something happened otherwise.
#pragma once

#include <cstdint>

namespace dmcache {

class digest {
 public:
  template <typename... Numbers> void add(Numbers... each) {
    (fold(static_cast<std::uint64_t>(each)), ...);
  }
  std::uint64_t value() const { return value_; }

 private:
  void fold(std::uint64_t number) {
    value_ = (value_ ^ number) * 0x9e3779b97f4a7c15U;
    value_ ^= value_ >> 29;
  }

  std::uint64_t value_ = 1;
};

} // namespace dmcache
