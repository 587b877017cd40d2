#include "base/testing/faulty_device.h"

#include <algorithm>
#include <utility>

namespace dmcache {

bool faulty_device::is_doomed(const io_request &request) const {
  if (request.op == io_request::operation::flush) {
    return bad_flushes_;
  }
  const auto &bad = request.op == io_request::operation::read ? bad_reads_ : bad_writes_;
  const bytes end = request.offset + length_of(request).value();
  return std::ranges::any_of(
      bad, [&](const range &r) { return request.offset < r.end && r.begin < end; });
}

void faulty_device::submit(std::span<const io_request> requests) {
  for (const io_request &request : requests) {
    if (is_doomed(request)) {
      doomed_.push_back(request);
    } else {
      working_.submit({&request, 1});
    }
  }
}

void faulty_device::wait() {
  if (doomed_.empty()) {
    working_.wait();
    return;
  }
  for (auto ended = std::exchange(doomed_, {}); const io_request &request : ended) {
    request.listener->io_done(request.tag, std::make_error_code(std::errc::io_error));
  }
}

std::error_code faulty_device::flush() {
  return bad_flushes_ ? std::make_error_code(std::errc::io_error) : working_.flush();
}

} // namespace dmcache
