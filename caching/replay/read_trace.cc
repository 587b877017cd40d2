#include "caching/replay/read_trace.h"

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>

#include "caching/replay/trace_lines.h"

namespace dmcache {
namespace {

constexpr std::size_t max_requests = std::size_t{1} << 27; // 4 GiB of them
constexpr char queued = 'Q';

constexpr std::array<std::pair<trace_format, bool (*)(std::string_view)>, 4> recognized_by{
    {{trace_format::blkparse, is_line_of_blkparse}, // first, as processes' names may have commas
     {trace_format::csv, is_line_of_csv},
     {trace_format::fio, is_line_of_fio},
     {trace_format::biosnoop, is_line_of_biosnoop}}};

std::optional<trace_format> detect_format(std::string_view beginning) {
  while (!beginning.empty()) {
    const std::size_t end = std::min(beginning.find('\n'), beginning.size());
    std::string_view line = beginning.substr(0, end);
    line.remove_suffix(line.ends_with('\r') ? 1 : 0);
    for (const auto &[format, recognizes] : recognized_by) {
      if (recognizes(line)) {
        return format;
      }
    }
    beginning.remove_prefix(std::min(end + 1, beginning.size()));
  }
  return {};
}

std::unique_ptr<trace_parser> make_parser(trace_format format, char event) {
  switch (format) {
  case trace_format::csv:
    return make_csv_parser();
  case trace_format::blkparse:
    return make_blkparse_parser(event);
  case trace_format::fio:
    return make_fio_parser();
  case trace_format::biosnoop:
    return make_biosnoop_parser();
  }
  std::unreachable();
}

// Puts together what the lines say.
class trace_reader {
 public:
  trace_reader(const trace_source &source, std::unique_ptr<trace_parser> parser)
      : device_{source.device}, is_chosen_{source.device.has_value()}, parser_{std::move(parser)} {}

  result<> take(std::string_view line);
  // All of it, or why it's none.
  result<trace> finish();

 private:
  result<bool> is_of_device(std::string_view device);

  std::optional<std::string> device_; // none before the first request, unless it is chosen
  bool is_chosen_;
  std::string other_; // a device that isn't the chosen one
  std::unique_ptr<trace_parser> parser_;
  trace read_;
};

result<> trace_reader::take(std::string_view line) {
  const auto parsed = parser_->parse(line);
  if (!parsed) {
    return std::unexpected{parsed.error()};
  }
  if (parsed->says == trace_line::kind::nothing) {
    return {};
  }
  if (const auto counts = is_of_device(parsed->device); !counts || !*counts) {
    return counts ? result<>{} : std::unexpected{counts.error()};
  }
  if (parsed->says == trace_line::kind::discard) {
    ++read_.nr_discards;
    return {};
  }
  auto &requests = read_.requests;
  if (parser_->is_in_order() && !requests.empty() && parsed->request.time < requests.back().time) {
    return fail(failure::failed, "a time before that of the line above");
  }
  if (requests.size() == max_requests) {
    return fail(failure::failed,
                fmt::format("more than {} requests: replay a part of them", max_requests));
  }
  requests.push_back(parsed->request);
  return {};
}

result<bool> trace_reader::is_of_device(std::string_view device) {
  if (!device_) {
    device_ = device;
  }
  if (*device_ == device) {
    return true;
  }
  if (!is_chosen_) {
    return fail(failure::failed, fmt::format("a request to {}, and those above are to {}: choose "
                                             "one of them by --device",
                                             device, *device_));
  }
  other_ = device;
  return false;
}

result<trace> trace_reader::finish() {
  auto &requests = read_.requests;
  if (requests.empty() && is_chosen_ && !other_.empty()) {
    return fail(failure::usage,
                fmt::format("no request is to {}; there are some to {}", *device_, other_));
  }
  if (requests.empty()) {
    return fail(failure::failed, "there are no requests in it");
  }
  if (!parser_->is_in_order()) {
    std::ranges::stable_sort(requests, {}, &trace_request::time);
  }
  return std::move(read_);
}

result<std::unique_ptr<trace_parser>> parser_for(const trace_source &source, trace_lines &lines) {
  const auto beginning = lines.beginning();
  if (!beginning) {
    return std::unexpected{beginning.error()};
  }
  const auto format = source.format ? source.format : detect_format(*beginning);
  if (!format) {
    return fail(
        failure::failed,
        fmt::format("{}: this looks like none of csv (time,op,lba,size), blkparse's output, "
                    "fio's log and biosnoop's output: choose one by --format",
                    lines.name()));
  }
  if (source.event && *format != trace_format::blkparse) {
    return fail(failure::usage, fmt::format("--event is for blkparse's output, and {} is {}",
                                            lines.name(), name_in(trace_formats, *format)));
  }
  if (source.device && *format == trace_format::csv) {
    return fail(failure::usage,
                fmt::format("--device: {} is csv, which names no devices", lines.name()));
  }
  return make_parser(*format, source.event.value_or(queued));
}

} // namespace

result<trace> read_trace(const trace_source &source, progress &watcher) {
  auto lines = trace_lines::open(source.path, watcher);
  if (!lines) {
    return std::unexpected{lines.error()};
  }
  auto parser = parser_for(source, *lines);
  if (!parser) {
    return std::unexpected{parser.error()};
  }
  trace_reader reader{source, std::move(*parser)};
  while (true) {
    const auto line = lines->next();
    if (!line) {
      return std::unexpected{line.error()};
    }
    if (!*line) {
      break;
    }
    if (auto taken = reader.take(**line); !taken) {
      return fail(taken.error().kind, fmt::format("{}: line {}: {}", lines->name(), lines->number(),
                                                  taken.error().message));
    }
  }
  watcher.clear();
  auto whole = reader.finish();
  return whole ? std::move(whole)
               : fail(whole.error().kind,
                      fmt::format("{}: {}", lines->name(), whole.error().message));
}

} // namespace dmcache
