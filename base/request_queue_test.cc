// All queues keep the same promises.

#include "base/request_queue.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <set>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "base/aligned_buffer.h"
#include "base/file_descriptor.h"

namespace dmcache {
namespace {

using namespace std::chrono_literals;

class request_queue_test : public testing::TestWithParam<queue_maker> {
 protected:
  request_queue_test() : queue_{GetParam()(request_queue::depth)} {
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

  // One request, in slot 0, from start to end.
  long carry_out(const io_request &request) {
    (*queue_)->prepare(file_.get(), request, 0);
    std::array<request_queue::completion, 1> into{};
    EXPECT_EQ((*queue_)->reap(into), 1U);
    EXPECT_EQ(into.front().slot, 0U);
    return into.front().transferred;
  }
  std::vector<std::byte> contents() {
    std::vector<std::byte> all(request_queue::depth * io_alignment);
    EXPECT_EQ(::pread(file_.get(), all.data(), all.size(), 0), static_cast<ssize_t>(all.size()));
    return all;
  }
  // Only [begin, end) of a file that is full of ones.
  void expect_zeroed(std::uint64_t begin, std::uint64_t end) {
    const auto all = contents();
    for (std::size_t i = 0; i < all.size(); ++i) {
      const bool is_within = i >= begin && i < end;
      ASSERT_EQ(all[i], is_within ? std::byte{0} : std::byte{1}) << i;
    }
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

TEST_P(request_queue_test, flushes) {
  transfer_all(io_request::operation::write, io_alignment);
  EXPECT_EQ(carry_out({io_request::operation::flush, {}, {}, nullptr, 0}), 0);
  file_ = file_descriptor{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
  EXPECT_EQ(carry_out({io_request::operation::flush, {}, {}, nullptr, 0}), -EINVAL);
}

TEST_P(request_queue_test, zeroes_and_discards_just_the_range) {
  using kind = std::pair<io_request::operation, bool>;
  for (const auto &[op, may_trim] : {kind{io_request::operation::write_zeroes, false},
                                     kind{io_request::operation::write_zeroes, true},
                                     kind{io_request::operation::discard, false}}) {
    std::ranges::fill(buffer_.span(), std::byte{1});
    transfer_all(io_request::operation::write, io_alignment);
    const long ended =
        carry_out({op, bytes{512}, {}, nullptr, 0, bytes{3 * io_alignment}, may_trim});
    if (op == io_request::operation::write_zeroes && ended == -EOPNOTSUPP) {
      continue; // a file system that leaves it to us
    }
    EXPECT_EQ(ended, 0);
    expect_zeroed(512, 512 + 3 * io_alignment);
    struct stat status{};
    EXPECT_EQ(::fstat(file_.get(), &status), 0);
    EXPECT_EQ(status.st_size, static_cast<off_t>(buffer_.span().size()));
  }
}

TEST_P(request_queue_test, gives_up_waiting_in_time) {
  std::array<request_queue::completion, 1> into{};
  EXPECT_EQ((*queue_)->reap(into, 0ns), 0U);
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ((*queue_)->reap(into, 20ms), 0U);
  }
  EXPECT_GE(std::chrono::steady_clock::now() - begin, 10ms); // libaio wakes early
}

TEST_P(request_queue_test, tells_when_a_file_can_be_read) {
  const file_descriptor event{::eventfd(0, EFD_CLOEXEC)};
  (*queue_)->prepare_poll(event.get(), 3);
  std::array<request_queue::completion, 1> into{};
  EXPECT_EQ((*queue_)->reap(into, 1ms), 0U);
  std::thread elsewhere{[&] { ::eventfd_write(event.get(), 1); }};
  EXPECT_EQ((*queue_)->reap(into), 1U);
  elsewhere.join();
  EXPECT_EQ(into.front().slot, 3U);
  EXPECT_GT(into.front().transferred, 0);
}

TEST_P(request_queue_test, gives_as_many_as_there_is_room_for) {
  for (std::size_t slot = 0; slot < 3; ++slot) {
    (*queue_)->prepare(file_.get(),
                       {io_request::operation::write_zeroes, {}, {}, nullptr, 0, bytes{512}}, slot);
  }
  std::set<std::size_t> ended;
  std::array<request_queue::completion, 1> into{};
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ((*queue_)->reap(into), 1U);
    ended.insert(into.front().slot);
  }
  EXPECT_EQ(ended.size(), 3U);
}

// One that only ever gives up what it gets.
class refusing_queue final : public request_queue {
 public:
  void prepare(int /*file*/, const io_request & /*request*/, std::size_t slot) override {
    refused_.push_back(slot);
  }
  void prepare_poll(int /*file*/, std::size_t slot) override { refused_.push_back(slot); }
  void submit() override {}
  std::size_t reap(std::span<completion> into,
                   std::optional<std::chrono::nanoseconds> timeout) override {
    if (refused_.empty()) {
      std::this_thread::sleep_for(timeout.value());
    }
    std::size_t count = 0;
    for (; count < into.size() && !refused_.empty(); refused_.pop_back()) {
      into[count++] = {refused_.back(), -ECANCELED};
    }
    return count;
  }

 private:
  std::vector<std::size_t> refused_;
};

made_queue make_queue_that_falls_back(std::size_t depth) {
  const auto refusing = [](std::size_t) -> made_queue {
    return std::make_unique<refusing_queue>();
  };
  return make_lasting_queue({refusing, make_waiting_queue}, depth);
}

std::string name_of(const testing::TestParamInfo<queue_maker> &of) {
  constexpr std::array names{"uring", "aio", "waiting", "falls_back"};
  return names.at(of.index);
}

INSTANTIATE_TEST_SUITE_P(all, request_queue_test,
                         testing::Values(&make_uring_queue, &make_aio_queue, &make_waiting_queue,
                                         &make_queue_that_falls_back),
                         name_of);

} // namespace
} // namespace dmcache
