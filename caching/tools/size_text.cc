#include "caching/tools/size_text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>

#include <fmt/format.h>

namespace dmcache {
namespace {

constexpr std::array units{
    size_unit{'b', "byte", 1},
    size_unit{'s', "sector", sector_size},
    size_unit{'k', "kibibyte", std::uint64_t{1} << 10},
    size_unit{'m', "mebibyte", std::uint64_t{1} << 20},
    size_unit{'g', "gibibyte", std::uint64_t{1} << 30},
    size_unit{'t', "tebibyte", std::uint64_t{1} << 40},
    size_unit{'p', "pebibyte", std::uint64_t{1} << 50},
    size_unit{'e', "exbibyte", std::uint64_t{1} << 60},
    size_unit{'K', "kilobyte", 1'000},
    size_unit{'M', "megabyte", 1'000'000},
    size_unit{'G', "gigabyte", 1'000'000'000},
    size_unit{'T', "terabyte", 1'000'000'000'000},
    size_unit{'P', "petabyte", 1'000'000'000'000'000},
    size_unit{'E', "exabyte", 1'000'000'000'000'000'000},
};

} // namespace

const size_unit *find_size_unit(std::string_view text) {
  const auto *found = std::ranges::find_if(units, [&](const size_unit &each) {
    return text == each.name || (text.size() == 1 && text.front() == each.letter);
  });
  return found == units.end() ? nullptr : found;
}

result<bytes> parse_size(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view suffix = text.substr(static_cast<std::size_t>(end - text.data()));
  const size_unit *unit = find_size_unit(suffix.empty() ? "s" : suffix);
  if (failed != std::errc{} || unit == nullptr) {
    return fail(failure::usage,
                fmt::format("'{}' is no size: give a whole number, with a unit of bskmgtpe or "
                            "KMGTPE, as in 64k",
                            text));
  }
  if (number > std::numeric_limits<std::uint64_t>::max() / unit->in_bytes) {
    return fail(failure::usage, fmt::format("'{}' is too large a size", text));
  }
  return bytes{number * unit->in_bytes};
}

} // namespace dmcache
