// Requests to open files, many in flight: a request queue, and what has to be remembered of each
// request in it. A request that ended halfway is carried on, and what a file can't do is done by
// other means.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <system_error>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/device.h"
#include "base/file_descriptor.h"
#include "base/request_queue.h"

namespace dmcache {

class file_requests {
 public:
  explicit file_requests(std::size_t depth = request_queue::depth)
      : file_requests{make_request_queue(depth), depth} {}
  file_requests(std::unique_ptr<request_queue> queue, std::size_t depth);
  file_requests(const file_requests &) = delete;
  file_requests &operator=(const file_requests &) = delete;
  // Waits for what is in flight, since its memory is the kernel's until then, without telling the
  // listeners.
  ~file_requests();

  bool has_room() const { return !free_.empty(); }
  bool is_idle() const { return nr_in_flight_ == 0; }

  // Requires room. The kernel gets it with the next submit() or wait().
  void add(int file, const io_request &request);
  void submit() { queue_->submit(); }

  // Waits until requests have ended, but not longer than `timeout`, and runs their listeners, which
  // may add more. Returns how many ended: none if it was woken, or if a signal came. If a listener
  // throws, the others are told by the next call.
  std::size_t wait(std::optional<std::chrono::nanoseconds> timeout = {});

  // Makes wake() work from now on, which takes the room of one request.
  std::error_code allow_wake();
  // Makes wait() return, or the next call of it. It may be called by any thread, or a signal
  // handler.
  void wake() const;

 private:
  struct entry {
    io_request request;
    int file;
    bool by_writing;    // zeroes, because the file knows no better
    std::uint64_t done; // bytes so far
  };
  static constexpr std::size_t nowhere = std::numeric_limits<std::size_t>::max();

  bool take(const request_queue::completion &ended);
  bool finish(std::size_t slot, std::error_code error);
  bool carry_on(std::size_t slot);
  void prepare_rest(std::size_t slot);
  void wait_for_wake();

  std::unique_ptr<request_queue> queue_;
  std::vector<entry> entries_;    // by slot
  std::vector<std::size_t> free_; // slots
  std::size_t nr_in_flight_ = 0;  // requests
  std::array<request_queue::completion, request_queue::depth> reaped_;
  std::span<const request_queue::completion> untold_; // of these, whose listeners are to be told
  file_descriptor wake_event_;
  std::size_t wake_slot_ = nowhere;
  std::optional<aligned_buffer> zeroes_;
};

} // namespace dmcache
