#include "bin/dirty_limit_text.h"

#include <fmt/format.h>

#include "caching/tools/size_text.h"

namespace dmcache {

result<dirty_limit> dirty_limit_of(const std::string &text) {
  if (text.ends_with('%')) {
    const auto limit = find_dirty_limit(text);
    return limit ? *limit
                 : result<dirty_limit>{
                       fail(failure::usage,
                            fmt::format("'{}' is no share of the cache: 0% to 100% are", text))};
  }
  const auto size = parse_size(text);
  if (!size) {
    return std::unexpected{size.error()};
  }
  if (size->value() % sector_size != 0) {
    return fail(failure::usage, fmt::format("'{}' is no whole number of sectors", text));
  }
  return dirty_limit{size->value() / sector_size, false};
}

} // namespace dmcache
