#include "base/assert.h"

#include <cstdio>
#include <cstdlib>

#include <fmt/format.h>

namespace dmcache {

void broken_invariant(const char *expectation, const char *file, int line) {
  fmt::print(stderr, "{}:{}: broken invariant: {}\n", file, line, expectation);
  std::abort();
}

} // namespace dmcache
