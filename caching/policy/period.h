// Time as a policy knows it: what tick() says.
#pragma once

#include <cstdint>
#include <optional>

namespace dmcache {

// The first one begins at the first time that is told, the next when it is told that one is over.
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
