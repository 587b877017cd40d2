// A queue that fails in the midst of the work is replaced, and no request is lost or told twice.

#include <algorithm>
#include <array>
#include <cerrno>
#include <deque>
#include <map>
#include <vector>

#include <gtest/gtest.h>

#include "base/request_queue.h"

namespace dmcache {
namespace {

using namespace std::chrono_literals;

// What the queues of a test have been asked for, and how they end it. Static, since the makers are
// plain functions.
struct {
  std::size_t nr_good = 0; // requests that the first queue carries out before it fails
  std::vector<std::size_t> by_first;
  std::vector<std::size_t> by_second;
  std::map<std::size_t, bytes> offsets; // that the second one was given
  std::vector<std::size_t> polled_by_second;
  bool is_first_gone = false;
} seen;

constexpr long transferred = 7;

// Ends requests in the order in which they came, one with each call; never a poll.
class first_queue final : public request_queue {
 public:
  ~first_queue() override {
    EXPECT_TRUE(in_flight_.empty()) << "the kernel still writes to the memory of requests";
    seen.is_first_gone = true;
  }
  void prepare(int /*file*/, const io_request & /*request*/, std::size_t slot) override {
    seen.by_first.push_back(slot);
    in_flight_.push_back({slot, seen.by_first.size() <= seen.nr_good ? transferred : -ECANCELED});
  }
  void prepare_poll(int /*file*/, std::size_t /*slot*/) override {}
  void submit() override {}
  std::size_t reap(std::span<completion> into,
                   std::optional<std::chrono::nanoseconds> /*timeout*/) override {
    if (in_flight_.empty()) {
      return 0;
    }
    // Those that fail are known before the others have ended.
    const auto next = std::ranges::min_element(in_flight_, {}, &completion::transferred);
    into.front() = *next;
    in_flight_.erase(next);
    return 1;
  }

 private:
  std::vector<completion> in_flight_;
};

class second_queue final : public request_queue {
 public:
  void prepare(int /*file*/, const io_request &request, std::size_t slot) override {
    EXPECT_TRUE(seen.is_first_gone);
    seen.by_second.push_back(slot);
    seen.offsets[slot] = request.offset;
    ended_.push_back({slot, slot == 0 ? -ECANCELED : transferred});
  }
  void prepare_poll(int /*file*/, std::size_t slot) override {
    seen.polled_by_second.push_back(slot);
  }
  void submit() override {}
  std::size_t reap(std::span<completion> into,
                   std::optional<std::chrono::nanoseconds> /*timeout*/) override {
    std::size_t count = 0;
    for (; count < into.size() && !ended_.empty(); ended_.pop_front()) {
      into[count++] = ended_.front();
    }
    return count;
  }

 private:
  std::deque<completion> ended_;
};

made_queue make_none(std::size_t /*depth*/) {
  return std::unexpected{std::make_error_code(std::errc::function_not_supported)};
}
made_queue make_first(std::size_t /*depth*/) {
  return std::make_unique<first_queue>();
}
made_queue make_second(std::size_t /*depth*/) {
  return std::make_unique<second_queue>();
}

class lasting_queue_test : public testing::Test {
 protected:
  lasting_queue_test() { seen = {}; }

  std::unique_ptr<request_queue> queue() {
    return make_lasting_queue({make_none, make_first, make_none, make_second}, 8);
  }
  static void prepare(request_queue &in, std::size_t slot) {
    in.prepare(0, {io_request::operation::read, bytes{slot * 512}, {}, nullptr, 0}, slot);
  }
  static std::map<std::size_t, long> outcomes(request_queue &of, std::size_t count) {
    std::map<std::size_t, long> all;
    std::array<request_queue::completion, 2> some{};
    while (all.size() < count) {
      const std::size_t nr_ended = of.reap(some);
      for (const auto &each : std::span{some}.first(nr_ended)) {
        EXPECT_TRUE(all.emplace(each.slot, each.transferred).second) << each.slot;
      }
    }
    EXPECT_EQ(of.reap(some, 0ns), 0U);
    return all;
  }
};

TEST_F(lasting_queue_test, uses_the_first_that_can_be_made_as_long_as_it_works) {
  seen.nr_good = 8;
  const auto works = queue();
  prepare(*works, 3);
  EXPECT_EQ(outcomes(*works, 1), (std::map<std::size_t, long>{{3, transferred}}));
  EXPECT_TRUE(seen.by_second.empty());
}

TEST_F(lasting_queue_test, repeats_what_was_not_carried_out_and_nothing_else) {
  seen.nr_good = 3;
  const auto fails = queue();
  for (std::size_t slot = 1; slot <= 6; ++slot) {
    prepare(*fails, slot);
  }
  const auto all = outcomes(*fails, 6);
  EXPECT_EQ(std::ranges::count(all, transferred, [](const auto &each) { return each.second; }), 6);
  EXPECT_EQ(seen.by_second, (std::vector<std::size_t>{4, 5, 6}));
  EXPECT_EQ(seen.offsets[5], bytes{5 * 512});
}

TEST_F(lasting_queue_test, goes_on_with_the_queue_that_took_over) {
  const auto fails = queue();
  prepare(*fails, 1);
  outcomes(*fails, 1);
  prepare(*fails, 2);
  EXPECT_EQ(outcomes(*fails, 1), (std::map<std::size_t, long>{{2, transferred}}));
  EXPECT_EQ(seen.by_first, (std::vector<std::size_t>{1}));
}

TEST_F(lasting_queue_test, takes_polls_along_though_they_have_not_ended) {
  const auto fails = queue();
  fails->prepare_poll(0, 7);
  prepare(*fails, 1);
  outcomes(*fails, 1);
  EXPECT_EQ(seen.polled_by_second, (std::vector<std::size_t>{7}));
}

TEST_F(lasting_queue_test, what_no_queue_carries_out_is_told) {
  const auto fails = queue();
  prepare(*fails, 0);
  EXPECT_EQ(outcomes(*fails, 1), (std::map<std::size_t, long>{{0, -ECANCELED}}));
}

} // namespace
} // namespace dmcache
