#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "caching/replay/trace_fields.h"

namespace dmcache {
namespace {

constexpr std::string_view time_column = "TIME(s)";
constexpr std::string_view process_column = "COMM";
constexpr std::size_t most_columns = 16;

// Lines like "0.004  supervise  1950  xvda1  W  13092560  4096  0.74", below a line that names the
// columns. A process can have blanks in its name, so the columns behind it are counted from the end.
class biosnoop_parser final : public trace_parser {
 public:
  result<trace_line> parse(std::string_view line) override;
  bool is_in_order() const override { return false; }

 private:
  result<trace_line> parse_header(std::string_view line);
  std::unexpected<error> not_as_expected() const;

  // Where a column of this name is, counted from the last one; of none, the number of columns.
  std::size_t place_of(std::string_view column) const {
    return static_cast<std::size_t>(std::ranges::find(columns_, column) - columns_.begin());
  }

  std::vector<std::string> columns_; // those behind COMM, from the last one
  std::size_t disk_ = 0;             // their places
  std::size_t operation_ = 0;
  std::size_t sector_ = 0;
  std::size_t size_ = 0;
};

result<trace_line> biosnoop_parser::parse(std::string_view line) {
  if (columns_.empty()) {
    return parse_header(line);
  }
  if (line.find_first_not_of(" \t") == std::string_view::npos || line == "^C") {
    return trace_line{};
  }
  std::string_view time_text = take_word(line);
  // Time begins at the line that was printed first, which need not be the earliest.
  const bool is_early = time_text.starts_with('-');
  time_text.remove_prefix(is_early ? 1 : 0);
  const auto time = to_number(time_text, max_trace_time);
  std::array<std::string_view, most_columns> fields;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    fields[i] = take_last_word(line);
  }
  const auto operation = operation_of(fields[operation_]);
  const auto length = to_number(fields[size_], max_trace_length);
  // A flush has the largest number there is instead of a sector.
  const auto sector = to_number(fields[sector_], ~std::uint64_t{0});
  if (!time || !operation || !sector || !length) {
    return not_as_expected();
  }
  if (length == 0) {
    return trace_line{};
  }
  if (*sector > max_trace_sector) {
    return not_as_expected();
  }
  return trace_line{operation->kind,
                    {is_early ? 0 : *time, operation->is_write, sectors{*sector}, bytes{*length}},
                    fields[disk_]};
}

// What stands above the names of the columns says nothing.
result<trace_line> biosnoop_parser::parse_header(std::string_view line) {
  if (!is_line_of_biosnoop(line)) {
    return trace_line{};
  }
  take_word(line);
  take_word(line);
  while (!line.empty() && columns_.size() < most_columns) {
    columns_.emplace_back(take_last_word(line));
  }
  disk_ = place_of("DISK");
  operation_ = place_of("T");
  sector_ = place_of("SECTOR");
  size_ = place_of("BYTES");
  if (std::max({disk_, operation_, sector_, size_}) == columns_.size()) {
    return fail(failure::failed, "expected the columns of biosnoop: TIME(s) COMM PID DISK T SECTOR "
                                 "BYTES ...");
  }
  return trace_line{};
}

std::unexpected<error> biosnoop_parser::not_as_expected() const {
  std::string names = fmt::format("{} {}", time_column, process_column);
  for (std::size_t i = columns_.size(); i > 0; --i) {
    names += ' ' + columns_[i - 1];
  }
  return fail(failure::failed, fmt::format("expected a line of biosnoop with {}", names));
}

} // namespace

bool is_line_of_biosnoop(std::string_view line) {
  return take_word(line) == time_column && take_word(line) == process_column;
}

std::unique_ptr<trace_parser> make_biosnoop_parser() {
  return std::make_unique<biosnoop_parser>();
}

} // namespace dmcache
