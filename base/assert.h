// Invariants of our own code. Never for bad input, which is a value (result.h).
#pragma once

#include <source_location>

namespace dmcache {

// Stays on in release builds: prints `expectation` and where it was broken, and aborts.
[[noreturn]] void broken_invariant(const char *expectation, std::source_location where);

inline void require(bool holds, const char *expectation,
                    std::source_location where = std::source_location::current()) {
  if (!holds) [[unlikely]] {
    broken_invariant(expectation, where);
  }
}

} // namespace dmcache
