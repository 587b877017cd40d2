#include "caching/runtime/trouble_log.h"

#include <gmock/gmock.h>

namespace dmcache {
namespace {

using operation = engine_io::operation;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::StartsWith;
using namespace std::chrono_literals;

class trouble_log_test : public testing::Test {
 protected:
  std::vector<std::string> fail(instant at, cache_device on = cache_device::origin,
                                operation op = operation::write) {
    engine_io io;
    io.op = op;
    io.on = on;
    io.offset = bytes{123456};
    io.length = bytes{65536};
    return log.failed(io, std::make_error_code(std::errc::no_space_on_device), start + at);
  }
  std::vector<std::string> due(instant at) { return log.due(metadata_mode::write, start + at); }

  static constexpr const char *line =
      "write of 65536 bytes at 123456 of the origin: No space left on device";
  const instant start = 1h;
  trouble_log log;
};

TEST_F(trouble_log_test, the_first_failure_of_each_kind_is_told_at_once) {
  EXPECT_THAT(fail(0s), ElementsAre(line));
  EXPECT_THAT(
      fail(0s, cache_device::fast),
      ElementsAre(StartsWith("write of 65536 bytes at 123456 of the fast device: No space")));
  EXPECT_THAT(fail(0s, cache_device::origin, operation::read),
              ElementsAre(StartsWith("read of 65536 bytes at 123456 of the origin: ")));
  EXPECT_THAT(fail(0s, cache_device::metadata, operation::flush),
              ElementsAre("flush of the metadata device: No space left on device"));
  EXPECT_THAT(due(1h), IsEmpty());
}

TEST_F(trouble_log_test, those_that_follow_are_told_together_even_if_no_other_comes) {
  fail(0s);
  for (int i = 0; i < 12; ++i) {
    EXPECT_THAT(fail(500ms), IsEmpty());
  }
  EXPECT_THAT(due(999ms), IsEmpty());
  EXPECT_THAT(due(1s), ElementsAre(std::string{line} + " (the last of 12 such failures)"));
  EXPECT_THAT(due(1h), IsEmpty());
}

TEST_F(trouble_log_test, what_goes_on_is_told_less_and_less_often_but_at_least_once_a_minute) {
  std::vector<instant> told;
  for (instant now = 0s; now < 10min; now += 100ms) {
    if (!fail(now).empty()) {
      told.push_back(now);
    }
  }
  ASSERT_GT(told.size(), 14U);
  EXPECT_LT(told.size(), 17U);
  EXPECT_THAT(std::vector(told.begin(), told.begin() + 4), ElementsAre(0s, 1s, 3s, 7s));
  EXPECT_EQ(told.back() - told[told.size() - 2], 1min);
}

TEST_F(trouble_log_test, what_is_retried_once_a_second_is_not_told_each_time) {
  std::size_t nr_told = 0;
  for (instant now = 0s; now < 1h; now += 1s) {
    nr_told += fail(now).size();
    nr_told += due(now + 500ms).size();
  }
  EXPECT_LT(nr_told, 70U);
}

TEST_F(trouble_log_test,
       after_a_quiet_time_the_next_failure_is_told_at_once_and_the_pause_is_short) {
  for (instant now = 0s; now < 10min; now += 100ms) {
    fail(now);
  }
  due(11min);
  EXPECT_THAT(fail(20min), ElementsAre(line));
  EXPECT_THAT(fail(20min + 500ms), IsEmpty());
  EXPECT_THAT(due(20min + 1s), ElementsAre(line));
}

TEST_F(trouble_log_test, the_rest_is_told_at_the_end) {
  fail(0s);
  fail(0s);
  fail(0s, cache_device::fast);
  EXPECT_THAT(log.rest(metadata_mode::write), ElementsAre(line));
  EXPECT_THAT(log.rest(metadata_mode::write), IsEmpty());
}

TEST_F(trouble_log_test, each_trouble_with_the_metadata_is_told_once) {
  EXPECT_THAT(due(0s), IsEmpty());
  EXPECT_THAT(log.due(metadata_mode::read_only, start),
              ElementsAre("the metadata can't be written: nothing new is cached, and all that is "
                          "cached will count as dirty: stop the cache, mend the cause, and run "
                          "cache_check --clear-needs-check-flag"));
  EXPECT_THAT(log.due(metadata_mode::read_only, start + 1s), IsEmpty());
  EXPECT_THAT(log.rest(metadata_mode::fail),
              ElementsAre(StartsWith("the metadata failed: nothing is served any more: stop")));
}

} // namespace
} // namespace dmcache
