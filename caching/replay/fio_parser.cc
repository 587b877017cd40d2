#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "caching/replay/trace_fields.h"

namespace dmcache {
namespace {

constexpr std::string_view header_of_version_2 = "fio version 2 iolog";
constexpr std::string_view header_of_version_3 = "fio version 3 iolog";
constexpr std::uint64_t max_offset = max_trace_sector * sector_size;
constexpr double microsecond = 1e-6;

// What asks for no data: of a file, without an offset, and within it.
constexpr std::array<std::string_view, 3> actions_on_files{"add", "open", "close"};
constexpr std::array<std::string_view, 3> syncs{"sync", "datasync", "sync_file_range"};

class fio_parser final : public trace_parser {
 public:
  result<trace_line> parse(std::string_view line) override;

 private:
  result<trace_line> parse_header(std::string_view line);
  std::unexpected<error> not_as_expected() const;

  int version_ = 0; // not known before the header
  double now_ = 0;  // seconds, of version 2
};

result<trace_line> fio_parser::parse(std::string_view line) {
  if (version_ == 0) {
    return parse_header(line);
  }
  double time = now_;
  if (version_ == 3) {
    const std::string_view text = take_word(line);
    const auto microseconds = to_number(text, max_trace_time);
    if (!microseconds) {
      return text.empty() ? not_as_expected() : wrong_field(text, "time in microseconds");
    }
    time = *microseconds * microsecond;
  }
  const std::string_view file = take_word(line);
  const std::string_view action = take_word(line);
  if (line.empty() && std::ranges::find(actions_on_files, action) != actions_on_files.end()) {
    return trace_line{};
  }
  const auto offset = to_number(take_word(line), max_offset);
  const auto length = to_number(take_word(line), max_trace_length);
  if (!line.empty() || !offset || !length) {
    return not_as_expected();
  }
  if (std::ranges::find(syncs, action) != syncs.end()) {
    return trace_line{};
  }
  if (action == "wait" && version_ == 2) {
    now_ = std::min(now_ + static_cast<double>(*offset) * microsecond, max_trace_time);
    return trace_line{};
  }
  if (action == "trim") {
    return trace_line{trace_line::kind::discard, {}, file};
  }
  if (action != "read" && action != "write") {
    return wrong_field(action, "action of fio's: read, write, trim, sync, datasync, or wait, which "
                               "version 2 alone has");
  }
  return trace_line{trace_line::kind::request, covering(time, action == "write", *offset, *length),
                    file};
}

result<trace_line> fio_parser::parse_header(std::string_view line) {
  version_ = line == header_of_version_2 ? 2 : line == header_of_version_3 ? 3 : 0;
  if (version_ == 0) {
    return wrong_field(
        line, fmt::format("beginning of fio's log: expected \"{}\", or 2", header_of_version_3));
  }
  return trace_line{};
}

std::unexpected<error> fio_parser::not_as_expected() const {
  return fail(failure::failed,
              fmt::format("expected {}FILE ACTION, and for I/O its OFFSET and LENGTH in bytes",
                          version_ == 3 ? "MICROSECONDS " : ""));
}

} // namespace

bool is_line_of_fio(std::string_view line) {
  return line == header_of_version_2 || line == header_of_version_3;
}

std::unique_ptr<trace_parser> make_fio_parser() {
  return std::make_unique<fio_parser>();
}

} // namespace dmcache
