#include "bin/control/request_stream.h"

#include <algorithm>
#include <chrono>
#include <iterator>

#include <fmt/format.h>

#include "caching/runtime/present_time.h"

namespace dmcache {

std::optional<request_stream> request_stream::open(request_recorder &of) {
  return of.start() ? std::optional{request_stream{of}} : std::nullopt;
}

request_stream::request_stream(request_recorder &of) : recorder_{&of}, begun_{present_time()} {}

request_stream::~request_stream() {
  if (recorder_ != nullptr) {
    recorder_->stop();
  }
}

// A trace knows no parts of sectors: a request counts as one of all sectors that it touches.
std::string request_stream::take() {
  const std::uint64_t nr_lost = recorder_->take(taken_);
  std::string lines;
  for (const recorded_request &each : taken_) {
    const std::chrono::duration<double> since = each.at - begun_;
    const std::uint64_t begin = each.offset.value() / sector_size;
    const std::uint64_t end = divided_up(each.offset.value() + each.length.value(), sector_size);
    fmt::format_to(std::back_inserter(lines), "request {:.6f},{},{},{}\n",
                   std::max(since.count(), 0.0), each.is_write ? 'W' : 'R', begin,
                   (end - begin) * sector_size);
  }
  if (nr_lost != 0) {
    lines += fmt::format("lost {}\n", nr_lost);
  }
  return lines;
}

} // namespace dmcache
