#include "base/assert.h"

#include <cstdio>
#include <cstdlib>

#include <fmt/format.h>

namespace dmcache {

void broken_invariant(const char *expectation, std::source_location where) {
  fmt::print(stderr, "{}:{}: broken invariant: {}\n", where.file_name(), where.line(),
             expectation);
  std::abort();
}

} // namespace dmcache
