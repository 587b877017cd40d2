#include <liburing.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "base/assert.h"
#include "base/request_queue.h"

namespace dmcache {
namespace {

// The kernel transfers less than 2 GiB at once.
constexpr std::size_t max_transfer = std::size_t{1} << 30;

// Of liburing's releases, some take offset and length as signed numbers and some as unsigned ones.
template <typename number>
using fallocate_call = void (*)(io_uring_sqe *, int, int, number, number);

template <typename number>
void prepare_fallocate(fallocate_call<number> prepare, io_uring_sqe *entry, int file,
                       const io_request &request) {
  prepare(entry, file, allocation_mode(request), static_cast<number>(request.offset.value()),
          static_cast<number>(request.length.value()));
}

class uring_queue final : public request_queue {
 public:
  // Takes all the memory that it will need: a request that is prepared has come into the queue.
  uring_queue(io_uring ring, std::size_t slots) : ring_{ring} {
    staged_.reserve(slots);
    ended_.reserve(slots);
  }
  uring_queue(const uring_queue &) = delete;
  uring_queue &operator=(const uring_queue &) = delete;
  ~uring_queue() override { io_uring_queue_exit(&ring_); }

  void prepare(int file, const io_request &request, std::size_t slot) override {
    if (request.op == io_request::operation::discard && is_block_device(file)) {
      ended_.push_back({slot, discard_or_zero(file, request)});
      return;
    }
    io_uring_sqe *entry = next_entry(slot);
    if (entry == nullptr) {
      return;
    }
    const auto length = static_cast<unsigned>(std::min(request.data.size(), max_transfer));
    const std::uint64_t offset = request.offset.value();
    switch (request.op) {
    case io_request::operation::read:
      io_uring_prep_read(entry, file, request.data.data(), length, offset);
      break;
    case io_request::operation::write:
      io_uring_prep_write(entry, file, request.data.data(), length, offset);
      break;
    case io_request::operation::flush:
      io_uring_prep_fsync(entry, file, IORING_FSYNC_DATASYNC);
      break;
    case io_request::operation::discard:
    case io_request::operation::write_zeroes:
      prepare_fallocate(io_uring_prep_fallocate, entry, file, request);
      break;
    case io_request::operation::prefetch:
      io_uring_prep_nop(entry); // which files don't know, and needn't
      break;
    }
    io_uring_sqe_set_data64(entry, slot);
  }

  void prepare_poll(int file, std::size_t slot) override {
    if (io_uring_sqe *entry = next_entry(slot)) {
      io_uring_prep_poll_add(entry, file, POLLIN);
      io_uring_sqe_set_data64(entry, slot);
    }
  }

  void submit() override {
    while (!staged_.empty() && note_taken(io_uring_submit(&ring_))) {
    }
  }

  std::size_t reap(std::span<completion> into,
                   std::optional<std::chrono::nanoseconds> timeout) override {
    if (!ended_.empty() || timeout == std::chrono::nanoseconds{0}) {
      submit();
      return take(into);
    }
    while (true) {
      const bool is_wait_over = is_broken_ ? poll_completions(timeout) : submit_and_wait(timeout);
      const std::size_t count = take(into);
      if (count > 0 || (timeout && is_wait_over)) {
        return count;
      }
    }
  }

 private:
  // Takes notice of how many the kernel has taken by a call that returned `result`. Returns whether
  // the next such call can do better.
  bool note_taken(int result) {
    const std::size_t nr_taken = staged_.size() - io_uring_sq_ready(&ring_);
    staged_.erase(staged_.begin(), staged_.begin() + static_cast<std::ptrdiff_t>(nr_taken));
    nr_in_kernel_ += nr_taken;
    if (result >= 0 || result == -EINTR || result == -ETIME) {
      return true;
    }
    const bool has_no_room = result == -EAGAIN || result == -EBUSY;
    if (!has_no_room || nr_in_kernel_ == 0) {
      give_up();
    }
    return false;
  }

  // What was handed over can still end, but nothing is from now on.
  void give_up() {
    is_broken_ = true;
    for (const std::size_t slot : staged_) {
      ended_.push_back({slot, -ECANCELED});
    }
    staged_.clear();
  }

  // Null if the request has ended with that.
  io_uring_sqe *next_entry(std::size_t slot) {
    if (is_broken_) {
      ended_.push_back({slot, -ECANCELED});
      return nullptr;
    }
    io_uring_sqe *entry = io_uring_get_sqe(&ring_);
    require(entry != nullptr, "no more requests than the queue is deep");
    staged_.push_back(slot);
    return entry;
  }

  // Each returns whether it waited, or needn't, rather than being interrupted before that.
  bool submit_and_wait(std::optional<std::chrono::nanoseconds> timeout) {
    int result = 0;
    if (timeout) {
      __kernel_timespec limit{};
      set(limit, *timeout);
      io_uring_cqe *first = nullptr;
      result = io_uring_submit_and_wait_timeout(&ring_, &first, 1, &limit, nullptr);
    } else {
      result = io_uring_submit_and_wait(&ring_, 1);
    }
    if (note_taken(result)) {
      return staged_.empty();
    }
    return ended_.empty() ? poll_completions(timeout) : true;
  }
  // Without entering the ring, which fails.
  bool poll_completions(std::optional<std::chrono::nanoseconds> timeout) {
    timespec limit{};
    if (timeout) {
      set(limit, *timeout);
    }
    pollfd ring{ring_.ring_fd, POLLIN, 0};
    ::ppoll(&ring, 1, timeout ? &limit : nullptr, nullptr);
    return true;
  }

  template <typename spec> static void set(spec &limit, std::chrono::nanoseconds timeout) {
    const auto whole = std::chrono::duration_cast<std::chrono::seconds>(timeout);
    limit.tv_sec = whole.count();
    limit.tv_nsec = (timeout - whole).count();
  }

  std::size_t take(std::span<completion> into) {
    std::size_t count = 0;
    for (; count < into.size() && !ended_.empty(); ended_.pop_back()) {
      into[count++] = ended_.back();
    }
    for (io_uring_cqe *ended = nullptr;
         count < into.size() && io_uring_peek_cqe(&ring_, &ended) == 0;
         io_uring_cqe_seen(&ring_, ended)) {
      into[count++] = {io_uring_cqe_get_data64(ended), ended->res};
      --nr_in_kernel_;
    }
    return count;
  }

  io_uring ring_;
  std::vector<std::size_t> staged_; // slots, in the ring's order
  std::size_t nr_in_kernel_ = 0;
  bool is_broken_ = false;        // the kernel takes no more
  std::vector<completion> ended_; // what didn't need the ring, or can't get through it
};

} // namespace

made_queue make_uring_queue(std::size_t depth) {
  io_uring ring{};
  const int failed = io_uring_queue_init(static_cast<unsigned>(depth), &ring, 0);
  if (failed < 0) {
    return std::unexpected{std::error_code{-failed, std::generic_category()}};
  }
  return std::make_unique<uring_queue>(ring, depth);
}

} // namespace dmcache
