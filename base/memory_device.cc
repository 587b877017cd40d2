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
    const auto offset = request.offset.value();
    const auto length = request.data.size();
    if (offset > contents_.size() || length > contents_.size() - offset) {
      request.listener->io_done(request.tag, std::make_error_code(std::errc::io_error));
      continue;
    }
    const auto stored = std::span{contents_}.subspan(offset, length);
    if (request.op == io_request::operation::read) {
      std::ranges::copy(stored, request.data.begin());
    } else {
      std::ranges::copy(request.data, stored.begin());
    }
    request.listener->io_done(request.tag, {});
  }
}

} // namespace dmcache
