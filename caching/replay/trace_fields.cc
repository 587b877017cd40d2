#include "caching/replay/trace_fields.h"

#include <algorithm>

#include <fmt/format.h>

namespace dmcache {
namespace {

constexpr std::string_view blanks = " \t";
constexpr std::size_t longest_told = 64; // of a field that is wrong

} // namespace

std::unexpected<error> wrong_field(std::string_view text, std::string_view meaning) {
  const bool is_long = text.size() > longest_told;
  return fail(failure::failed, fmt::format("'{}{}' is no {}", text.substr(0, longest_told),
                                           is_long ? "..." : "", meaning));
}

std::string_view take_word(std::string_view &text) {
  text.remove_prefix(std::min(text.find_first_not_of(blanks), text.size()));
  const std::string_view word = text.substr(0, text.find_first_of(blanks));
  text.remove_prefix(word.size());
  text.remove_prefix(std::min(text.find_first_not_of(blanks), text.size()));
  return word;
}

std::string_view take_last_word(std::string_view &text) {
  text = text.substr(0, text.find_last_not_of(blanks) + 1);
  const std::string_view word = text.substr(text.find_last_of(blanks) + 1);
  text.remove_suffix(word.size());
  text = text.substr(0, text.find_last_not_of(blanks) + 1);
  return word;
}

std::optional<lettered_operation> operation_of(std::string_view letters) {
  using kind = trace_line::kind;
  if (letters.empty() || letters.find_first_not_of("RWDNFASMEBZUP") != std::string_view::npos) {
    return {};
  }
  // A flush stands before the write that it belongs to; on its own it is all that is asked for.
  const std::size_t first = letters.find_first_not_of('F');
  switch (first == std::string_view::npos ? 'N' : letters[first]) {
  case 'R':
    return lettered_operation{kind::request, false};
  case 'W':
    return lettered_operation{kind::request, true};
  case 'D':
    return lettered_operation{kind::discard, false};
  default:
    return lettered_operation{kind::nothing, false};
  }
}

trace_request covering(double time, bool is_write, std::uint64_t offset, std::uint64_t length) {
  const std::uint64_t start = offset / sector_size;
  return {time, is_write, sectors{start},
          to_bytes(sectors{divided_up(offset + length, sector_size) - start})};
}

} // namespace dmcache
