#include "caching/runtime/waiting_io.h"

#include <gtest/gtest.h>

namespace dmcache {
namespace {

class waiting_io_test : public testing::Test {
 protected:
  static engine_io made(engine_io::operation op, bool is_background) {
    engine_io io;
    io.op = op;
    io.is_background = is_background;
    return io;
  }

  engine_io background = made(engine_io::operation::read, true);
  engine_io write = made(engine_io::operation::write, false);
  engine_io read = made(engine_io::operation::read, false);
  waiting_io queue;
};

TEST_F(waiting_io_test, what_no_request_waits_for_comes_last) {
  queue.push(background);
  queue.push(write);
  queue.push(read);
  EXPECT_EQ(queue.take(false), &read);
  EXPECT_EQ(queue.take(false), &write);
  EXPECT_EQ(queue.take(false), &background);
  EXPECT_EQ(queue.take(false), nullptr);
}

TEST_F(waiting_io_test, who_prefers_it_takes_it_first) {
  queue.push(read);
  queue.push(background);
  EXPECT_EQ(queue.take(true), &background);
  EXPECT_EQ(queue.take(true), &read);
  EXPECT_EQ(queue.take(true), nullptr);
}

TEST_F(waiting_io_test, a_request_helps_with_reads_that_others_may_wait_for) {
  queue.push(background);
  queue.push(write);
  EXPECT_EQ(queue.take_read(), nullptr);
  queue.push(read);
  EXPECT_EQ(queue.take_read(), &read);
}

TEST_F(waiting_io_test, no_thread_is_told_of_what_was_taken_meanwhile) {
  queue.push(background);
  queue.push(write);
  EXPECT_EQ(queue.take(false), &write);
  EXPECT_TRUE(queue.is_any_untold());
  EXPECT_EQ(queue.take_nr_untold(), 1U);
  EXPECT_FALSE(queue.is_any_untold());
  EXPECT_EQ(queue.take(false), &background);
  EXPECT_EQ(queue.take_nr_untold(), 0U);
}

} // namespace
} // namespace dmcache
