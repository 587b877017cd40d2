#include "base/patched_device.h"

#include "base/assert.h"

namespace dmcache {

void patched_device::submit(std::span<const io_request> requests) {
  const bytes end = begin_ + patch_.size().value();
  for (io_request each : requests) {
    const bytes request_end = each.offset + length_of(each).value();
    if (request_end <= begin_ || each.offset >= end) {
      require(each.op == io_request::operation::read, "only what is patched can be written");
      whole_.submit({&each, 1});
      continue;
    }
    require(each.offset >= begin_ && request_end <= end, "a request crosses the patch's border");
    each.offset = bytes{each.offset.value() - begin_.value()};
    patch_.submit({&each, 1});
    ++in_patch_;
  }
}

void patched_device::wait() {
  if (in_patch_ > 0) {
    in_patch_ = 0; // it ends all
    patch_.wait();
  } else {
    whole_.wait();
  }
}

} // namespace dmcache
