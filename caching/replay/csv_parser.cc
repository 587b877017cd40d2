#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>

#include "caching/replay/trace_fields.h"

namespace dmcache {
namespace {

constexpr std::string_view header = "time,op,lba,size";
constexpr std::size_t nr_columns = 4;

class csv_parser final : public trace_parser {
 public:
  result<trace_line> parse(std::string_view line) override;

 private:
  bool is_first_ = true;
};

result<trace_line> csv_parser::parse(std::string_view line) {
  if (std::exchange(is_first_, false) && line == header) {
    return trace_line{};
  }
  std::array<std::string_view, nr_columns> columns;
  std::size_t nr_found = 0;
  for (bool is_last = false; !is_last; ++nr_found) {
    const std::size_t comma = std::min(line.find(','), line.size());
    is_last = comma == line.size();
    if (nr_found < nr_columns) {
      columns[nr_found] = line.substr(0, comma);
    }
    line.remove_prefix(is_last ? comma : comma + 1);
  }
  if (nr_found != nr_columns) {
    return fail(failure::failed, fmt::format("{} columns instead of {}", nr_found, header));
  }
  const auto &[time, operation, start, length] = columns;
  const auto seconds = to_number(time, max_trace_time);
  const auto sector = to_number(start, max_trace_sector);
  const auto size = to_number(length, max_trace_length);
  if (!seconds) {
    return wrong_field(time, "time");
  }
  if (operation != "R" && operation != "W") {
    return wrong_field(operation, "operation: R or W");
  }
  if (!sector) {
    return wrong_field(start, "sector");
  }
  if (!size) {
    return wrong_field(length, "number of bytes");
  }
  return trace_line{
      trace_line::kind::request, {*seconds, operation == "W", sectors{*sector}, bytes{*size}}, {}};
}

} // namespace

// With as many columns, a line that is wrong is told as one of CSV, which helps more than to say that
// the format is not known.
bool is_line_of_csv(std::string_view line) {
  return std::ranges::count(line, ',') == nr_columns - 1;
}

std::unique_ptr<trace_parser> make_csv_parser() {
  return std::make_unique<csv_parser>();
}

} // namespace dmcache
