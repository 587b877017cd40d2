#include "base/assert.h"

#include <cstdlib>

#include <fmt/format.h>

#include "base/standard_streams.h"

namespace dmcache {

void broken_invariant(const char *expectation, const char *file, int line) {
  tell(fmt::format("{}:{}: broken invariant: {}\n", file, line, expectation));
  std::abort();
}

} // namespace dmcache
