// Both queues keep the same promises.

#include "base/request_queue.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <set>

#include <gtest/gtest.h>

#include "base/aligned_buffer.h"
#include "base/file_descriptor.h"

namespace dmcache {
namespace {

class request_queue_test : public testing::TestWithParam<made_queue (*)()> {
 protected:
  request_queue_test() : queue_{GetParam()()} {
    std::string name = "/tmp/request_queue_test.XXXXXX";
    file_ = file_descriptor{::mkostemp(name.data(), O_CLOEXEC)};
    ::unlink(name.c_str());
  }

  void SetUp() override {
    if (!queue_) {
      GTEST_SKIP() << "this kernel has no such queue: " << queue_.error().message();
    }
  }

  // Reads or writes one aligned unit in each slot.
  std::set<std::size_t> transfer_all(io_request::operation op, long expected) {
    for (std::size_t slot = 0; slot < request_queue::depth; ++slot) {
      (*queue_)->prepare(file_.get(),
                         {op, bytes{slot * io_alignment},
                          buffer_.span().subspan(slot * io_alignment, io_alignment), nullptr, 0},
                         slot);
    }
    (*queue_)->submit();
    std::set<std::size_t> ended;
    std::array<request_queue::completion, request_queue::depth> into{};
    while (ended.size() < request_queue::depth) {
      const std::size_t count = (*queue_)->reap(into);
      for (const auto &each : std::span{into}.first(count)) {
        EXPECT_EQ(each.transferred, expected);
        ended.insert(each.slot);
      }
    }
    return ended;
  }

  made_queue queue_;
  file_descriptor file_;
  aligned_buffer buffer_{request_queue::depth * io_alignment};
};

TEST_P(request_queue_test, gives_each_slot_back_with_what_was_transferred) {
  buffer_.span()[io_alignment] = std::byte{42};
  EXPECT_EQ(transfer_all(io_request::operation::write, io_alignment).size(), request_queue::depth);
  buffer_.span()[io_alignment] = std::byte{0};
  transfer_all(io_request::operation::read, io_alignment);
  EXPECT_EQ(buffer_.span()[io_alignment], std::byte{42});
}

TEST_P(request_queue_test, tells_the_errno_of_a_failure) {
  file_ = file_descriptor{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
  transfer_all(io_request::operation::write, -EBADF);
}

INSTANTIATE_TEST_SUITE_P(uring_and_aio, request_queue_test,
                         testing::Values(&make_uring_queue, &make_aio_queue),
                         [](const auto &of) { return of.index == 0 ? "uring" : "aio"; });

} // namespace
} // namespace dmcache
