// Hashes of numbers that nobody can foresee who doesn't see this process: its tables stay fast
// whatever numbers they are given, by a client or by the metadata of a foreign cache.
//
// Two multiplications to 128 bits, of which both halves count: every bit of the number changes each
// bit of the hash with a chance of one half.
#pragma once

#include <cstdint>

namespace dmcache {

class keyed_hash {
 public:
  // Of this process: the same in all of it, and another one the next time.
  keyed_hash();
  keyed_hash(std::uint64_t first_key, std::uint64_t second_key)
      : first_key_{first_key}, second_key_{second_key | 1} {}

  std::uint64_t operator()(std::uint64_t number) const {
    return folded(folded(number ^ first_key_, second_key_), first_key_ | 1);
  }

 private:
  __extension__ using product = unsigned __int128;

  static std::uint64_t folded(std::uint64_t one, std::uint64_t other) {
    const product both = static_cast<product>(one) * other;
    return static_cast<std::uint64_t>(both) ^ static_cast<std::uint64_t>(both >> 64);
  }

  std::uint64_t first_key_;
  std::uint64_t second_key_;
};

} // namespace dmcache
