#include "base/memory_device.h"

#include <algorithm>
#include <utility>

#include "base/assert.h"

namespace dmcache {

void memory_device::submit(std::span<const io_request> requests) {
  queue_.insert(queue_.end(), requests.begin(), requests.end());
}

void memory_device::wait() {
  require(!queue_.empty(), "wait() needs a request in flight");
  for (auto ended = std::exchange(queue_, {}); const io_request &request : ended) {
    request.listener->io_done(request.tag, carry_out(request));
  }
}

std::error_code memory_device::carry_out(const io_request &request) {
  const auto offset = request.offset.value();
  const auto length = length_of(request).value();
  if (offset > contents_.size() || length > contents_.size() - offset) {
    return std::make_error_code(std::errc::io_error);
  }
  const auto stored = std::span{contents_}.subspan(offset, length);
  switch (request.op) {
  case io_request::operation::read:
    std::ranges::copy(stored, request.data.begin());
    break;
  case io_request::operation::write:
    std::ranges::copy(request.data, stored.begin());
    break;
  case io_request::operation::discard:
  case io_request::operation::write_zeroes:
    std::ranges::fill(stored, std::byte{0});
    break;
  case io_request::operation::flush:
  case io_request::operation::prefetch:
    break;
  }
  return {};
}

} // namespace dmcache
