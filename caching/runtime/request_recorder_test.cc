#include "caching/runtime/request_recorder.h"

#include <thread>

#include <gtest/gtest.h>

namespace dmcache {
namespace {

using operation = request::operation;

class request_recorder_test : public testing::Test {
 protected:
  void note(operation op, std::uint64_t offset = 0, std::uint64_t length = 512) {
    request asked;
    asked.op = op;
    asked.offset = bytes{offset};
    asked.length = bytes{length};
    recorder_.note(asked);
  }

  request_recorder recorder_;
  std::vector<recorded_request> taken_;
};

TEST_F(request_recorder_test, keeps_what_carries_data_in_order) {
  ASSERT_TRUE(recorder_.start());
  for (const operation each : {operation::read, operation::flush, operation::write,
                               operation::discard, operation::prefetch, operation::write_zeroes}) {
    note(each, 4096 * static_cast<std::uint64_t>(each), 1024);
  }
  EXPECT_EQ(recorder_.take(taken_), 0);
  ASSERT_EQ(taken_.size(), 3U);
  EXPECT_FALSE(taken_[0].is_write);
  EXPECT_TRUE(taken_[1].is_write);
  EXPECT_TRUE(taken_[2].is_write);
  EXPECT_EQ(taken_[1].offset, bytes{4096 * static_cast<std::uint64_t>(operation::write)});
  EXPECT_EQ(taken_[1].length, bytes{1024});
  EXPECT_LE(taken_[0].at, taken_[1].at);
  EXPECT_LE(taken_[1].at, taken_[2].at);
}

TEST_F(request_recorder_test, what_was_taken_does_not_come_again) {
  ASSERT_TRUE(recorder_.start());
  note(operation::read);
  recorder_.take(taken_);
  note(operation::write);
  recorder_.take(taken_);
  ASSERT_EQ(taken_.size(), 1U);
  EXPECT_TRUE(taken_[0].is_write);
}

TEST_F(request_recorder_test, counts_what_it_has_no_room_for) {
  ASSERT_TRUE(recorder_.start());
  for (std::size_t i = 0; i < request_recorder::capacity + 7; ++i) {
    note(operation::read);
  }
  EXPECT_EQ(recorder_.take(taken_), 7);
  EXPECT_EQ(taken_.size(), request_recorder::capacity);
  note(operation::read);
  EXPECT_EQ(recorder_.take(taken_), 0);
  EXPECT_EQ(taken_.size(), 1U);
}

TEST_F(request_recorder_test, one_at_a_time) {
  ASSERT_TRUE(recorder_.start());
  EXPECT_FALSE(recorder_.start());
  recorder_.stop();
  EXPECT_FALSE(recorder_.is_on());
  EXPECT_TRUE(recorder_.start());
}

TEST_F(request_recorder_test, begins_with_nothing_of_the_last_time) {
  ASSERT_TRUE(recorder_.start());
  note(operation::read);
  recorder_.stop();
  note(operation::read); // of a request that saw it on
  ASSERT_TRUE(recorder_.start());
  EXPECT_EQ(recorder_.take(taken_), 0);
  EXPECT_TRUE(taken_.empty());
}

TEST_F(request_recorder_test, many_threads_lose_nothing_but_what_it_tells) {
  constexpr std::uint64_t each_notes = 20000;
  ASSERT_TRUE(recorder_.start());
  std::uint64_t nr_found = 0;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        for (std::uint64_t j = 0; j < each_notes; ++j) {
          note(operation::read);
        }
      });
    }
    for (int i = 0; i < 100; ++i) {
      nr_found += recorder_.take(taken_);
      nr_found += taken_.size();
    }
  }
  nr_found += recorder_.take(taken_);
  nr_found += taken_.size();
  EXPECT_EQ(nr_found, 4 * each_notes);
}

} // namespace
} // namespace dmcache
