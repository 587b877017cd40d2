// The kernel's side of file devices: where requests go and their results come from.
//
// It is io_uring where the kernel has it and lets us use it, libaio elsewhere, and system calls that
// wait where there is neither; each takes over when the one before fails, in the midst of the work as
// well. io_uring costs nothing to set up and tear down; to tear down libaio's queue means to wait for
// a grace period of the kernel, which is longer than all the rest of a check takes.
//
// What neither can do without waiting for it is done at once, and ends with the next reap():
// discarding on block devices, with libaio all discarding and zeroing.
#pragma once

#include <chrono>
#include <cstddef>
#include <expected>
#include <memory>
#include <optional>
#include <span>
#include <system_error>
#include <vector>

#include "base/device.h"

namespace dmcache {

class request_queue {
 public:
  static constexpr std::size_t depth = 64; // requests in flight at most, unless made deeper

  struct completion {
    std::size_t slot;
    // Bytes, 0 of what has no data, or a negative errno. After -ECANCELED another queue can carry it
    // out: this one, or the kernel behind it, has no means to.
    long transferred;
  };

  request_queue() = default;
  request_queue(const request_queue &) = delete;
  request_queue &operator=(const request_queue &) = delete;
  virtual ~request_queue() = default;

  // Stages a request for the file. `slot`, a number below the depth, comes back with its
  // completion, and is not to be used before. Less than all may be transferred. Zeroing ends with
  // EOPNOTSUPP where only writing zeroes helps.
  virtual void prepare(int file, const io_request &request, std::size_t slot) = 0;
  // Stages a request that ends once `file` is readable.
  virtual void prepare_poll(int file, std::size_t slot) = 0;
  // Hands what is staged to the kernel. What that doesn't take ends with -ECANCELED.
  virtual void submit() = 0;
  // Hands what is staged to the kernel, waits for at least one completion, and stores completions
  // into the first elements of `into`, which must not be empty. Returns how many: none if there was
  // none for about as long as `timeout`, which may be zero, or if a signal came meanwhile. Without
  // a timeout something must be in flight.
  virtual std::size_t reap(std::span<completion> into,
                           std::optional<std::chrono::nanoseconds> timeout = {}) = 0;
};

// Discards or zeroes the range of `request`, and waits for that. Returns zero, or a negative errno.
long discard_or_zero(int file, const io_request &request);
// The mode with which fallocate() does that, but for discarding on block devices.
int allocation_mode(const io_request &request);
bool is_block_device(int file);

using made_queue = std::expected<std::unique_ptr<request_queue>, std::error_code>;
using queue_maker = made_queue (*)(std::size_t depth);

// The best one of those below that works, for as long as it does; then the next one.
std::unique_ptr<request_queue> make_request_queue(std::size_t depth = request_queue::depth);
// The same with any queues, the best one first. Requires that the last one can always be made.
std::unique_ptr<request_queue> make_lasting_queue(std::vector<queue_maker> makers,
                                                  std::size_t depth);

made_queue make_uring_queue(std::size_t depth = request_queue::depth);
made_queue make_aio_queue(std::size_t depth = request_queue::depth);
// Carries out each request when it is submitted, and waits for it. It can always be made.
made_queue make_waiting_queue(std::size_t depth = request_queue::depth);

} // namespace dmcache
