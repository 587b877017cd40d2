#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <limits>
#include <memory>
#include <optional>
#include <string_view>
#include <system_error>
#include <type_traits>

#include <fmt/format.h>
#include <zlib.h>

#include "bench/replay/trace.h"

namespace dmcache {
namespace {

constexpr std::size_t nr_columns = 4;
constexpr std::size_t max_line = 256;
// With these limits neither a device's end in bytes nor a time in whole seconds can overflow.
constexpr std::uint64_t max_length = std::uint64_t{1} << 32;
constexpr std::uint64_t max_sector = std::uint64_t{1} << 54;
constexpr double max_time = 1e15;

template <typename Number> std::optional<Number> to_number(std::string_view text, Number max) {
  Number value{};
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failed != std::errc{} || end != text.data() + text.size() || !(value >= 0 && value <= max)) {
    return {};
  }
  return value;
}

std::unexpected<error> wrong(const char *column, std::string_view text) {
  return fail(failure::failed, fmt::format("'{}' is no {}", text, column));
}

result<trace_request> parse_line(std::string_view line) {
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
    return fail(failure::failed, fmt::format("{} columns instead of time,op,lba,size", nr_found));
  }
  const auto &[time, operation, start, length] = columns;
  const auto seconds = to_number(time, max_time);
  const auto sector = to_number(start, max_sector);
  const auto size = to_number(length, max_length);
  if (!seconds) {
    return wrong("time", time);
  }
  if (operation != "R" && operation != "W") {
    return wrong("operation: R or W", operation);
  }
  if (!sector) {
    return wrong("sector", start);
  }
  if (!size) {
    return wrong("number of bytes", length);
  }
  return trace_request{*seconds, operation == "W", sectors{*sector}, bytes{*size}};
}

// Returns the next line without its end; nothing at the end of the file.
std::optional<std::string_view> next_line(gzFile file, std::array<char, max_line> &buffer) {
  if (::gzgets(file, buffer.data(), static_cast<int>(buffer.size())) == nullptr) {
    return {};
  }
  std::string_view line{buffer.data()};
  while (line.ends_with('\n') || line.ends_with('\r')) {
    line.remove_suffix(1);
  }
  return line;
}

} // namespace

result<std::vector<trace_request>> read_trace(const std::string &path) {
  const std::unique_ptr<std::remove_pointer_t<gzFile>, int (*)(gzFile)> file{
      ::gzopen(path.c_str(), "rbe"), ::gzclose};
  if (!file) {
    return fail(failure::environment,
                fmt::format("cannot read {}: {}", path, std::generic_category().message(errno)));
  }
  std::vector<trace_request> requests;
  std::array<char, max_line> buffer{};
  std::uint64_t number = 0;
  result<trace_request> request{};
  while (const auto line = next_line(file.get(), buffer)) {
    if (++number == 1 && *line == "time,op,lba,size") {
      continue;
    }
    request = parse_line(*line);
    if (request && !requests.empty() && request->time < requests.back().time) {
      request = fail(failure::failed, "a time before that of the line above");
    }
    if (!request) {
      break;
    }
    requests.push_back(*request);
  }
  int broken = Z_OK; // which explains half a line, too
  const char *reason = ::gzerror(file.get(), &broken);
  if (broken != Z_OK && broken != Z_STREAM_END) {
    return fail(failure::failed, fmt::format("{} breaks off at line {}: {}", path, number, reason));
  }
  if (!request) {
    return fail(request.error().kind,
                fmt::format("{}: line {}: {}", path, number, request.error().message));
  }
  return requests;
}

} // namespace dmcache
