#include <fcntl.h>
#include <libaio.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <vector>

#include "base/assert.h"
#include "base/request_queue.h"

namespace dmcache {
namespace {

class aio_queue final : public request_queue {
 public:
  // Takes all the memory that it will need: a request that is prepared has come into the queue.
  aio_queue(io_context_t context, std::size_t slots) : context_{context}, controls_(slots) {
    staged_.reserve(slots);
    ended_.reserve(slots);
  }
  aio_queue(const aio_queue &) = delete;
  aio_queue &operator=(const aio_queue &) = delete;
  ~aio_queue() override { io_destroy(context_); }

  void prepare(int file, const io_request &request, std::size_t slot) override {
    iocb &control = controls_.at(slot);
    const auto offset = static_cast<long long>(request.offset.value());
    switch (request.op) {
    case io_request::operation::read:
      io_prep_pread(&control, file, request.data.data(), request.data.size(), offset);
      break;
    case io_request::operation::write:
      io_prep_pwrite(&control, file, request.data.data(), request.data.size(), offset);
      break;
    case io_request::operation::flush:
      io_prep_fdsync(&control, file);
      break;
    case io_request::operation::discard:
    case io_request::operation::write_zeroes:
      ended_.push_back({slot, discard_or_zero(file, request)});
      return;
    case io_request::operation::prefetch:
      ended_.push_back({slot, -EOPNOTSUPP});
      return;
    }
    staged_.push_back(&control);
  }

  void prepare_poll(int file, std::size_t slot) override {
    io_prep_poll(&controls_.at(slot), file, POLLIN);
    staged_.push_back(&controls_.at(slot));
  }

  void submit() override {
    std::size_t first = 0;
    while (first < staged_.size()) {
      const auto count = static_cast<long>(staged_.size() - first);
      const int taken = io_submit(context_, count, staged_.data() + first);
      if (taken > 0) {
        first += static_cast<std::size_t>(taken);
        nr_in_kernel_ += static_cast<std::size_t>(taken);
      } else if (taken == -EAGAIN && nr_in_kernel_ > 0) {
        break; // there will be room when one of those has ended
      } else if (taken != -EINTR) {
        refused(*staged_[first++], taken);
      }
    }
    staged_.erase(staged_.begin(), staged_.begin() + static_cast<std::ptrdiff_t>(first));
  }

  std::size_t reap(std::span<completion> into,
                   std::optional<std::chrono::nanoseconds> timeout) override {
    submit();
    std::size_t count = 0;
    for (; count < into.size() && !ended_.empty(); ended_.pop_back()) {
      into[count++] = ended_.back();
    }
    const auto limit = count > 0 ? std::chrono::nanoseconds{0} : timeout;
    return count + take(into.subspan(count), limit);
  }

 private:
  // Older kernels flush only for those who wait. What is wrong with the request itself is its
  // outcome; else the kernel has no memory for it, or isn't to do it for us.
  void refused(const iocb &control, long reason) {
    if (reason == -EINVAL && control.aio_lio_opcode == IO_CMD_FDSYNC) {
      reason = ::fdatasync(control.aio_fildes) == 0 ? 0 : -errno;
    } else if (reason != -EINVAL && reason != -EBADF && reason != -EFAULT) {
      reason = -ECANCELED;
    }
    ended_.push_back({slot_of(&control), reason});
  }

  std::size_t take(std::span<completion> into, std::optional<std::chrono::nanoseconds> timeout) {
    std::array<io_event, depth> events;
    const auto room = static_cast<long>(std::min(into.size(), events.size()));
    if (room == 0) {
      return 0;
    }
    timespec limit{};
    if (timeout) {
      const auto whole = std::chrono::duration_cast<std::chrono::seconds>(*timeout);
      limit = {whole.count(), (*timeout - whole).count()};
    }
    int ended = 0;
    do {
      ended = io_getevents(context_, 1, room, events.data(), timeout ? &limit : nullptr);
    } while (ended == -EINTR && !timeout);
    require(ended > 0 || (timeout && (ended == 0 || ended == -EINTR)),
            "the kernel gives back what it was given");
    const auto count = static_cast<std::size_t>(std::max(ended, 0));
    nr_in_kernel_ -= count;
    for (std::size_t i = 0; i < count; ++i) {
      into[i] = {slot_of(events.at(i).obj), static_cast<long>(events.at(i).res)};
    }
    return count;
  }

  std::size_t slot_of(const iocb *control) const {
    return static_cast<std::size_t>(control - controls_.data());
  }

  io_context_t context_;
  std::vector<iocb> controls_; // by slot
  std::vector<iocb *> staged_;
  std::size_t nr_in_kernel_ = 0;
  std::vector<completion> ended_; // what the kernel would not take
};

} // namespace

made_queue make_aio_queue(std::size_t depth) {
  io_context_t context = nullptr;
  if (const int failed = io_setup(static_cast<int>(depth), &context); failed < 0) {
    return std::unexpected{std::error_code{-failed, std::generic_category()}};
  }
  return std::make_unique<aio_queue>(context, depth);
}

} // namespace dmcache
