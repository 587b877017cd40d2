#include <liburing.h>

#include <cerrno>

#include "base/assert.h"
#include "base/request_queue.h"

namespace dmcache {
namespace {

class uring_queue final : public request_queue {
 public:
  explicit uring_queue(io_uring ring) : ring_{ring} {}
  uring_queue(const uring_queue &) = delete;
  uring_queue &operator=(const uring_queue &) = delete;
  ~uring_queue() override { io_uring_queue_exit(&ring_); }

  void prepare(int file, const io_request &request, std::size_t slot) override {
    io_uring_sqe *entry = io_uring_get_sqe(&ring_);
    require(entry != nullptr, "no more requests than the queue is deep");
    const auto length = static_cast<unsigned>(request.data.size());
    if (request.op == io_request::operation::read) {
      io_uring_prep_read(entry, file, request.data.data(), length, request.offset.value());
    } else {
      io_uring_prep_write(entry, file, request.data.data(), length, request.offset.value());
    }
    io_uring_sqe_set_data64(entry, slot);
  }

  void submit() override {
    while (io_uring_sq_ready(&ring_) > 0) {
      const int taken = io_uring_submit(&ring_);
      require(taken >= 0 || taken == -EINTR || taken == -EAGAIN || taken == -EBUSY,
              "the kernel takes what it has room for");
    }
  }

  std::size_t reap(std::span<completion> into) override {
    io_uring_cqe *ended = nullptr;
    int failed = 0;
    do {
      failed = io_uring_wait_cqe(&ring_, &ended);
    } while (failed == -EINTR);
    require(failed == 0, "the kernel gives back what it was given");
    std::size_t count = 0;
    while (count < into.size() && io_uring_peek_cqe(&ring_, &ended) == 0) {
      into[count++] = {io_uring_cqe_get_data64(ended), ended->res};
      io_uring_cqe_seen(&ring_, ended);
    }
    return count;
  }

 private:
  io_uring ring_;
};

} // namespace

made_queue make_uring_queue() {
  io_uring ring{};
  if (const int failed = io_uring_queue_init(request_queue::depth, &ring, 0); failed < 0) {
    return std::unexpected{std::error_code{-failed, std::generic_category()}};
  }
  return std::make_unique<uring_queue>(ring);
}

} // namespace dmcache
