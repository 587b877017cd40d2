// Time as a policy knows it: by what tick() says.
#pragma once

#include <cstdint>
#include <optional>

namespace dmcache {

// Periods of the same length that follow one another. The first begins when is_over() is first
// called, and each of the others when is_over() says that the one before is over.
class period {
 public:
  explicit period(std::uint64_t seconds) : length_{seconds} {}

  bool is_over(std::uint64_t now) {
    if (begin_ && now - *begin_ < length_) {
      return false;
    }
    const bool is_first = !begin_;
    begin_ = now;
    return !is_first;
  }

 private:
  std::uint64_t length_;
  std::optional<std::uint64_t> begin_;
};

} // namespace dmcache
