#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <vector>

#include "base/request_queue.h"

namespace dmcache {
namespace {

// Calls `operation`, which returns -1 and sets errno if it fails, until no signal is in its way.
template <typename Operation> long outcome_of(Operation operation) {
  long done = 0;
  do {
    done = operation();
  } while (done < 0 && errno == EINTR);
  return done < 0 ? -errno : done;
}

long carry_out(int file, const io_request &request) {
  const auto offset = static_cast<off_t>(request.offset.value());
  switch (request.op) {
  case io_request::operation::read:
    return outcome_of(
        [&] { return ::pread(file, request.data.data(), request.data.size(), offset); });
  case io_request::operation::write:
    return outcome_of(
        [&] { return ::pwrite(file, request.data.data(), request.data.size(), offset); });
  case io_request::operation::flush:
    return outcome_of([&] { return ::fdatasync(file); });
  case io_request::operation::discard:
  case io_request::operation::write_zeroes:
    return discard_or_zero(file, request);
  case io_request::operation::prefetch:
    break; // which files don't know, and needn't
  }
  return 0;
}

class waiting_queue final : public request_queue {
 public:
  void prepare(int file, const io_request &request, std::size_t slot) override {
    staged_.push_back({file, request, slot});
  }

  void prepare_poll(int file, std::size_t slot) override {
    polled_.push_back({file, POLLIN, 0});
    slots_polled_.push_back(slot);
  }

  void submit() override {
    for (; !staged_.empty(); staged_.pop_front()) {
      const staged &next = staged_.front();
      ended_.push_back({next.slot, carry_out(next.file, next.request)});
    }
  }

  std::size_t reap(std::span<completion> into,
                   std::optional<std::chrono::nanoseconds> timeout) override {
    submit();
    poll(ended_.empty() ? timeout : std::chrono::nanoseconds{0});
    const std::size_t count = std::min(into.size(), ended_.size());
    const auto end = ended_.begin() + static_cast<std::ptrdiff_t>(count);
    std::copy(ended_.begin(), end, into.begin());
    ended_.erase(ended_.begin(), end);
    return count;
  }

 private:
  struct staged {
    int file;
    io_request request;
    std::size_t slot;
  };

  void poll(std::optional<std::chrono::nanoseconds> timeout) {
    timespec limit{};
    if (timeout) {
      const auto whole = std::chrono::duration_cast<std::chrono::seconds>(*timeout);
      limit = {whole.count(), (*timeout - whole).count()};
    }
    int nr_ready = 0;
    do {
      nr_ready = ::ppoll(polled_.data(), polled_.size(), timeout ? &limit : nullptr, nullptr);
    } while (nr_ready < 0 && errno == EINTR && !timeout);
    for (std::size_t i = polled_.size(); nr_ready > 0 && i > 0; --i) {
      if (const short events = polled_[i - 1].revents; events != 0) {
        ended_.push_back({slots_polled_[i - 1], events});
        polled_.erase(polled_.begin() + static_cast<std::ptrdiff_t>(i - 1));
        slots_polled_.erase(slots_polled_.begin() + static_cast<std::ptrdiff_t>(i - 1));
      }
    }
  }

  std::deque<staged> staged_;
  std::vector<pollfd> polled_;
  std::vector<std::size_t> slots_polled_; // of polled_, each at the same index
  std::deque<completion> ended_;
};

} // namespace

made_queue make_waiting_queue(std::size_t /*depth*/) {
  return std::make_unique<waiting_queue>();
}

} // namespace dmcache
