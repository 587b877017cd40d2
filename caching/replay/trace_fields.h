// The fields of a trace's lines.
#pragma once

#include <charconv>
#include <optional>
#include <string_view>
#include <system_error>

#include "base/result.h"
#include "caching/replay/trace_parser.h"

namespace dmcache {

// `text`, if it is a number from 0 to `max` and nothing else.
template <typename Number> std::optional<Number> to_number(std::string_view text, Number max) {
  Number value{};
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failed != std::errc{} || end != text.data() + text.size() || !(value >= 0 && value <= max)) {
    return {};
  }
  return value;
}

// "'x' is no time"
std::unexpected<error> wrong_field(std::string_view text, std::string_view meaning);

// Takes the first word from the beginning of the text, and the blanks around it; empty if there is
// none. So does the other one with the last word, from the end.
std::string_view take_word(std::string_view &text);
std::string_view take_last_word(std::string_view &text);

// What the letters mean by which the kernel says what a request is ("WS", "RA", "FN"). Nothing, the
// kind, is a flush, or the like; none at all means that these are no such letters.
struct lettered_operation {
  trace_line::kind kind;
  bool is_write;
};
std::optional<lettered_operation> operation_of(std::string_view letters);

// A request of whole sectors that covers these bytes. Requires that both are within the limits.
trace_request covering(double time, bool is_write, std::uint64_t offset, std::uint64_t length);

} // namespace dmcache
