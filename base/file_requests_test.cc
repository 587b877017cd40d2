// What file_requests does beyond its queue, which a stand-in plays here that does as it is told.

#include "base/file_requests.h"

#include <cerrno>
#include <deque>
#include <functional>
#include <new>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "base/assert.h"
#include "base/testing/matchers.h"

namespace dmcache {
namespace {

using namespace std::chrono_literals;
using operation = io_request::operation;

constexpr long no_memory = -1'000'000; // of a script: the request can't be prepared

// Ends each request with what a script says, or with all of it done.
class scripted_queue final : public request_queue {
 public:
  explicit scripted_queue(std::vector<io_request> &seen, std::deque<long> script)
      : seen_{seen}, script_{std::move(script)} {}

  void prepare(int /*file*/, const io_request &request, std::size_t slot) override {
    seen_.push_back(request);
    long ends_with = static_cast<long>(request.data.size());
    if (!script_.empty()) {
      ends_with = script_.front();
      script_.pop_front();
    }
    if (ends_with == no_memory) {
      throw std::bad_alloc{};
    }
    staged_.push_back({slot, ends_with});
  }
  void prepare_poll(int /*file*/, std::size_t /*slot*/) override {}
  void submit() override {}
  std::size_t reap(std::span<completion> into,
                   std::optional<std::chrono::nanoseconds> /*timeout*/) override {
    require(!staged_.empty(), "nobody waits for what will never end");
    std::size_t count = 0;
    for (; count < into.size() && !staged_.empty(); staged_.pop_front()) {
      into[count++] = staged_.front();
    }
    return count;
  }

 private:
  std::vector<io_request> &seen_;
  std::deque<long> script_;
  std::deque<completion> staged_;
};

class outcome_recorder final : public io_listener {
 public:
  void io_done(std::uint64_t /*tag*/, std::error_code error) override { outcomes.push_back(error); }
  std::vector<std::error_code> outcomes;
};

// Has no memory for what the first outcome leads to.
class short_of_memory final : public io_listener {
 public:
  void io_done(std::uint64_t tag, std::error_code /*error*/) override {
    told.push_back(tag);
    if (told.size() == 1) {
      throw std::bad_alloc{};
    }
  }
  std::vector<std::uint64_t> told;
};

class file_requests_test : public testing::Test {
 protected:
  // One request whose parts end as `script` says.
  std::error_code outcome(io_request request, std::deque<long> script) {
    file_requests requests{std::make_unique<scripted_queue>(seen_, std::move(script)), 4};
    outcome_recorder its;
    request.listener = &its;
    requests.add(0, request);
    while (its.outcomes.empty()) {
      requests.wait();
    }
    EXPECT_TRUE(requests.is_idle());
    return its.outcomes.front();
  }
  io_request of_data(operation op) { return {op, bytes{io_alignment}, buffer_.span(), nullptr, 0}; }

  std::vector<io_request> seen_;
  aligned_buffer buffer_{4 * io_alignment};
};

TEST_F(file_requests_test, a_listener_that_throws_costs_others_nothing) {
  file_requests requests{std::make_unique<scripted_queue>(seen_, std::deque<long>{}), 4};
  short_of_memory listener;
  for (std::uint64_t tag = 0; tag < 3; ++tag) {
    requests.add(0, {operation::read, bytes{}, buffer_.span(), &listener, tag});
  }
  EXPECT_THROW(requests.wait(), std::bad_alloc);
  EXPECT_EQ(requests.wait(), 2U);
  EXPECT_EQ(listener.told, (std::vector<std::uint64_t>{0, 1, 2}));
  EXPECT_TRUE(requests.is_idle());
}

TEST_F(file_requests_test, nobody_waits_at_the_end_for_what_has_ended) {
  short_of_memory listener;
  {
    file_requests requests{std::make_unique<scripted_queue>(seen_, std::deque<long>{}), 4};
    for (std::uint64_t tag = 0; tag < 3; ++tag) {
      requests.add(0, {operation::read, bytes{}, buffer_.span(), &listener, tag});
    }
    EXPECT_THROW(requests.wait(), std::bad_alloc);
  }
  EXPECT_EQ(listener.told, std::vector<std::uint64_t>{0});
}

TEST_F(file_requests_test, what_there_is_no_memory_for_is_not_in_flight) {
  file_requests requests{std::make_unique<scripted_queue>(seen_, std::deque<long>{no_memory}), 1};
  outcome_recorder its;
  io_request request = of_data(operation::read);
  request.listener = &its;
  EXPECT_THROW(requests.add(0, request), std::bad_alloc);
  EXPECT_TRUE(requests.is_idle());
  requests.add(0, request);
  EXPECT_EQ(requests.wait(), 1U);
}

TEST_F(file_requests_test, a_rest_that_there_is_no_memory_for_is_an_error) {
  EXPECT_THAT(outcome(of_data(operation::read), {io_alignment, no_memory}),
              fails_with(std::errc::not_enough_memory));
}

TEST_F(file_requests_test, goes_on_where_less_than_all_was_transferred) {
  EXPECT_THAT(outcome(of_data(operation::read), {io_alignment}), succeeds());
  ASSERT_EQ(seen_.size(), 2U);
  EXPECT_EQ(seen_[1].offset, bytes{2 * io_alignment});
  EXPECT_EQ(seen_[1].data.data(), buffer_.span().data() + io_alignment);
  EXPECT_EQ(seen_[1].data.size(), 3 * io_alignment);
}

TEST_F(file_requests_test, the_end_of_the_file_is_an_error) {
  EXPECT_EQ(outcome(of_data(operation::read), {io_alignment, 0}), std::errc::io_error);
}

TEST_F(file_requests_test, an_error_after_a_part_is_the_outcome) {
  EXPECT_EQ(outcome(of_data(operation::write), {io_alignment, -ENOSPC}),
            std::errc::no_space_on_device);
}

TEST_F(file_requests_test, writes_zeroes_where_the_file_cannot_make_them) {
  constexpr std::uint64_t length = 600000 / sector_size * sector_size;
  EXPECT_THAT(outcome({operation::write_zeroes, bytes{sector_size}, {}, nullptr, 0, bytes{length}},
                      {-EOPNOTSUPP}),
              succeeds());
  std::uint64_t next = sector_size;
  ASSERT_GT(seen_.size(), 1U);
  for (const io_request &each : std::span{seen_}.subspan(1)) {
    EXPECT_EQ(each.op, operation::write);
    EXPECT_EQ(each.offset, bytes{next});
    next += each.data.size();
  }
  EXPECT_EQ(next, sector_size + length);
}

TEST_F(file_requests_test, a_file_that_cannot_discard_says_so) {
  EXPECT_EQ(outcome({operation::discard, {}, {}, nullptr, 0, bytes{sector_size}}, {-EOPNOTSUPP}),
            std::errc::operation_not_supported);
}

TEST(file_requests, is_woken_from_another_thread_and_again) {
  const auto requests = std::make_unique<file_requests>(4);
  ASSERT_THAT(requests->allow_wake(), succeeds());
  EXPECT_EQ(requests->wait(0ns), 0U);
  for (int i = 0; i < 3; ++i) {
    std::thread elsewhere{[&] { requests->wake(); }};
    EXPECT_EQ(requests->wait(), 0U); // without a limit: it would hang if it weren't woken
    elsewhere.join();
  }
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 5; ++i) {
    requests->wait(20ms);
  }
  EXPECT_GE(std::chrono::steady_clock::now() - begin, 10ms); // libaio wakes early
}

} // namespace
} // namespace dmcache
