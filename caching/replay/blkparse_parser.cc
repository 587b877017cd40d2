#include <fmt/format.h>

#include "caching/replay/trace_fields.h"

namespace dmcache {
namespace {

constexpr std::uint64_t max_sectors = max_trace_length / sector_size;

// Above and below the events there are remarks and statistics.
class blkparse_parser final : public trace_parser {
 public:
  explicit blkparse_parser(char event) : event_{event} {}

  result<trace_line> parse(std::string_view line) override;
  bool is_in_order() const override { return false; }

 private:
  result<trace_line> parse_event(std::string_view line);
  std::unexpected<error> not_as_expected() const;

  char event_;
  enum class part : std::uint8_t { header, events, trailer } part_ = part::header;
};

result<trace_line> blkparse_parser::parse(std::string_view line) {
  if (is_line_of_blkparse(line)) {
    part_ = part::events;
    return parse_event(line);
  }
  if (part_ == part::events && (line.empty() || line.starts_with("CPU") ||
                                line.starts_with("Total") || line.starts_with("Throughput"))) {
    part_ = part::trailer;
  }
  if (part_ == part::events) {
    return not_as_expected();
  }
  return trace_line{};
}

// "  8,0    3   11     0.009507758   697  Q  WS 223490 + 8 [kjournald]"
result<trace_line> blkparse_parser::parse_event(std::string_view line) {
  const std::string_view device = take_word(line);
  for (int i = 0; i < 2; ++i) { // CPU and sequence number
    if (!to_number(take_word(line), ~std::uint64_t{0})) {
      return not_as_expected();
    }
  }
  const auto time = to_number(take_word(line), max_trace_time);
  take_word(line); // the process
  const std::string_view action = take_word(line);
  if (!time || action.empty()) {
    return not_as_expected();
  }
  if (action.size() != 1 || action.front() != event_) {
    return trace_line{};
  }
  const std::string_view letters = take_word(line);
  const auto operation = operation_of(letters);
  if (!operation) {
    return letters.empty() ? not_as_expected() : wrong_field(letters, "kind of request, as in WS");
  }
  // What has no sectors, as a flush, has its process next; what a driver is told has its bytes before
  // that, and may have them spelled out.
  const std::string_view first = take_word(line);
  if (first.starts_with('[') || line.starts_with('[') || line.starts_with('(')) {
    return trace_line{};
  }
  const auto start = to_number(first, max_trace_sector);
  const std::string_view plus = take_word(line);
  const auto length = to_number(take_word(line), max_sectors);
  if (!start || plus != "+" || !length || !line.ends_with(']')) {
    return not_as_expected();
  }
  return trace_line{length == 0 ? trace_line::kind::nothing : operation->kind,
                    {*time, operation->is_write, sectors{*start}, to_bytes(sectors{*length})},
                    device};
}

std::unexpected<error> blkparse_parser::not_as_expected() const {
  return fail(failure::failed,
              fmt::format("expected an event as blkparse prints it: MAJOR,MINOR CPU SEQUENCE TIME "
                          "PID {} RWBS SECTOR + SECTORS [PROCESS]",
                          event_));
}

} // namespace

// All events begin with a device's numbers, as in "8,16".
bool is_line_of_blkparse(std::string_view line) {
  const std::string_view device = take_word(line);
  const std::size_t comma = device.find(',');
  return comma != std::string_view::npos && to_number(device.substr(0, comma), ~0U) &&
         to_number(device.substr(comma + 1), ~0U);
}

std::unique_ptr<trace_parser> make_blkparse_parser(char event) {
  return std::make_unique<blkparse_parser>(event);
}

} // namespace dmcache
