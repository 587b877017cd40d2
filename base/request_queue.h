// The kernel's side of a file device: where requests go and their results come from.
//
// io_uring, where the kernel has it and lets us: it costs nothing to set up and tear down, where
// tearing down the older interface waits for a grace period of the kernel, longer than all the rest
// of a check takes. libaio elsewhere.
#pragma once

#include <cstddef>
#include <expected>
#include <memory>
#include <span>
#include <system_error>

#include "base/device.h"

namespace dmcache {

class request_queue {
 public:
  static constexpr std::size_t depth = 64; // requests in flight at most

  struct completion {
    std::size_t slot;
    long transferred; // bytes, or a negative errno
  };

  request_queue() = default;
  request_queue(const request_queue &) = delete;
  request_queue &operator=(const request_queue &) = delete;
  virtual ~request_queue() = default;

  // Stages `request` for the file; `slot` (below depth) comes back with its completion and is not
  // to be used before.
  virtual void prepare(int file, const io_request &request, std::size_t slot) = 0;
  // Hands what is staged to the kernel.
  virtual void submit() = 0;
  // Waits for at least one completion; how many were stored into the first elements of `into`,
  // which has room for depth.
  virtual std::size_t reap(std::span<completion> into) = 0;
};

using made_queue = std::expected<std::unique_ptr<request_queue>, std::error_code>;

// The better one of those that the kernel has.
made_queue make_request_queue();
made_queue make_uring_queue();
made_queue make_aio_queue();

} // namespace dmcache
