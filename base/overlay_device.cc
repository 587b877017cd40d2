#include "base/overlay_device.h"

#include <algorithm>
#include <utility>

#include "base/assert.h"

namespace dmcache {

void overlay_device::submit(std::span<const io_request> requests) {
  for (const io_request &each : requests) {
    switch (each.op) {
    case io_request::operation::read: {
      io_request read = each;
      read.listener = this;
      read.tag = next_tag_++;
      reads_.emplace(read.tag, each);
      below_.submit({&read, 1});
      break;
    }
    case io_request::operation::write:
      ended_.push_back({each, write(each)});
      break;
    case io_request::operation::flush:
      ended_.push_back({each, {}});
      break;
    case io_request::operation::discard:
    case io_request::operation::write_zeroes:
    case io_request::operation::prefetch:
      ended_.push_back({each, std::make_error_code(std::errc::not_supported)});
      break;
    }
  }
}

void overlay_device::wait() {
  if (ended_.empty()) {
    below_.wait();
    return;
  }
  for (const auto &[request, error] : std::exchange(ended_, {})) {
    request.listener->io_done(request.tag, error);
  }
}

void overlay_device::io_done(std::uint64_t tag, std::error_code error) {
  const io_request request = reads_.extract(tag).mapped();
  if (!error) {
    read_over(request);
  }
  request.listener->io_done(request.tag, error);
}

std::error_code overlay_device::write(const io_request &request) {
  require(request.offset.value() % io_alignment == 0 && request.data.size() % io_alignment == 0,
          "writes are of whole pages");
  const std::uint64_t end = below_.size().value();
  if (request.offset.value() > end || request.data.size() > end - request.offset.value()) {
    return std::make_error_code(std::errc::io_error);
  }
  std::uint64_t number = request.offset.value() / io_alignment;
  for (auto rest = request.data; !rest.empty(); rest = rest.subspan(io_alignment)) {
    auto &into = written_[number++];
    if (!into) {
      into = std::make_unique<page>();
    }
    std::ranges::copy(rest.first(io_alignment), into->begin());
  }
  return {};
}

// Puts what was written in the place of what was read.
void overlay_device::read_over(const io_request &request) const {
  std::uint64_t number = request.offset.value() / io_alignment;
  for (auto rest = request.data; rest.size() >= io_alignment; rest = rest.subspan(io_alignment)) {
    if (const auto found = written_.find(number++); found != written_.end()) {
      std::ranges::copy(*found->second, rest.begin());
    }
  }
}

} // namespace dmcache
