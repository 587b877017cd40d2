#include <libaio.h>

#include <array>
#include <cerrno>
#include <vector>

#include "base/assert.h"
#include "base/request_queue.h"

namespace dmcache {
namespace {

class aio_queue final : public request_queue {
 public:
  explicit aio_queue(io_context_t context) : context_{context} {}
  aio_queue(const aio_queue &) = delete;
  aio_queue &operator=(const aio_queue &) = delete;
  ~aio_queue() override { io_destroy(context_); }

  void prepare(int file, const io_request &request, std::size_t slot) override {
    iocb &control = controls_.at(slot);
    const auto offset = static_cast<long long>(request.offset.value());
    if (request.op == io_request::operation::read) {
      io_prep_pread(&control, file, request.data.data(), request.data.size(), offset);
    } else {
      io_prep_pwrite(&control, file, request.data.data(), request.data.size(), offset);
    }
    staged_.push_back(&control);
  }

  void submit() override {
    for (std::size_t first = 0; first < staged_.size();) {
      const auto count = static_cast<long>(staged_.size() - first);
      const int taken = io_submit(context_, count, staged_.data() + first);
      if (taken > 0) {
        first += static_cast<std::size_t>(taken);
      } else if (taken != -EINTR && taken != -EAGAIN) {
        refused_.push_back({slot_of(staged_[first++]), taken});
      }
    }
    staged_.clear();
  }

  std::size_t reap(std::span<completion> into) override {
    if (!refused_.empty()) {
      into.front() = refused_.back();
      refused_.pop_back();
      return 1;
    }
    std::array<io_event, depth> events{};
    int ended = 0;
    do {
      ended = io_getevents(context_, 1, depth, events.data(), nullptr);
    } while (ended == -EINTR);
    require(ended > 0, "the kernel gives back what it was given");
    const auto count = static_cast<std::size_t>(ended);
    for (std::size_t i = 0; i < count; ++i) {
      into[i] = {slot_of(events.at(i).obj), static_cast<long>(events.at(i).res)};
    }
    return count;
  }

 private:
  std::size_t slot_of(const iocb *control) const {
    return static_cast<std::size_t>(control - controls_.data());
  }

  io_context_t context_;
  std::array<iocb, depth> controls_{};
  std::vector<iocb *> staged_;
  std::vector<completion> refused_;
};

} // namespace

made_queue make_aio_queue() {
  io_context_t context = nullptr;
  if (const int failed = io_setup(request_queue::depth, &context); failed < 0) {
    return std::unexpected{std::error_code{-failed, std::generic_category()}};
  }
  return std::make_unique<aio_queue>(context);
}

} // namespace dmcache
