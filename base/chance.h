// Random numbers that are the same for the same seed, everywhere: for simulations and tests.
#pragma once

#include <cstdint>

namespace dmcache {

class chance {
 public:
  explicit chance(std::uint64_t seed) : state_{seed} {}

  // Any 64 bits (splitmix64).
  std::uint64_t operator()() {
    state_ += 0x9e3779b97f4a7c15U;
    std::uint64_t mixed = state_;
    mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9U;
    mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebU;
    return mixed ^ mixed >> 31;
  }

  // In [0, limit), of which there is at least one number, below 2^32.
  std::uint64_t below(std::uint64_t limit) { return ((*this)() >> 32) * limit >> 32; }
  // In [first, last].
  std::uint64_t between(std::uint64_t first, std::uint64_t last) {
    return first + below(last - first + 1);
  }
  bool one_in(std::uint64_t count) { return below(count) == 0; }

 private:
  std::uint64_t state_;
};

} // namespace dmcache
