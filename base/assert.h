// Invariants of our own code. Never for bad input, which is a value (result.h).
#pragma once

namespace dmcache {

// Stays on in release builds: prints `expectation` and where it was broken, and aborts.
[[noreturn]] void broken_invariant(const char *expectation, const char *file, int line);

// `file` and `line` are the caller's.
inline void require(bool holds, const char *expectation, const char *file = __builtin_FILE(),
                    int line = __builtin_LINE()) {
  if (!holds) [[unlikely]] {
    broken_invariant(expectation, file, line);
  }
}

} // namespace dmcache
