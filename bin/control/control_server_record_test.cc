// A recording of what clients ask for, over the control socket.
#include "bin/control/control_server_test.h"

namespace dmcache {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::MatchesRegex;

class control_server_record_test : public control_server_test {
 protected:
  void ask_for(request::operation op, std::uint64_t offset, std::uint64_t length) {
    request asked;
    asked.op = op;
    asked.offset = bytes{offset};
    asked.length = bytes{length};
    runtime_.recorder().note(asked);
  }
  void wait_until_it_records() {
    while (!runtime_.recorder().is_on()) {
      std::this_thread::sleep_for(1ms);
    }
  }
  // What is recorded, line by line, until there are so many, or more.
  result<control_client::recording> record(std::size_t nr_lines) {
    control_client client = connect();
    return client.record(
        [&](std::string_view line) {
          lines_.emplace_back(line);
          return result<>{};
        },
        [&] { return lines_.size() >= nr_lines; });
  }

  std::vector<std::string> lines_;
};

TEST_F(control_server_record_test, tells_each_request_with_whole_sectors) {
  start();
  const std::jthread client{[this] {
    wait_until_it_records();
    ask_for(request::operation::read, 4096, 65536);
    ask_for(request::operation::write, 1000, 100); // from the second sector into the third
  }};
  const auto recorded = record(2);
  ASSERT_THAT(recorded, succeeds());
  EXPECT_EQ(recorded->nr_requests, 2);
  EXPECT_EQ(recorded->nr_lost, 0);
  EXPECT_THAT(lines_, ElementsAre(MatchesRegex("[0-9]+\\.[0-9]+,R,8,65536"),
                                  MatchesRegex("[0-9]+\\.[0-9]+,W,1,1024")));
}

// While the client doesn't listen, the server can take away what fits into the socket's buffer, and once
// more what is kept. That can be many rounds of a few requests each, all of which it still hears of.
TEST_F(control_server_record_test, tells_a_slow_client_how_many_it_could_not_keep) {
  start({.answer = 600s});
  constexpr std::uint64_t nr_reads = 4 * request_recorder::capacity;
  bool is_asked = false;
  control_client client = connect();
  const auto recorded = client.record([](std::string_view) { return result<>{}; },
                                      [&] {
                                        if (!std::exchange(is_asked, true)) {
                                          for (std::uint64_t i = 0; i < nr_reads; ++i) {
                                            ask_for(request::operation::read, 0, 512);
                                          }
                                        }
                                        return true;
                                      });
  ASSERT_THAT(recorded, succeeds());
  EXPECT_GT(recorded->nr_lost, 0);
  EXPECT_EQ(recorded->nr_requests + recorded->nr_lost, nr_reads);
}

TEST_F(control_server_record_test, tells_all_that_was_asked_for_before_it_was_enough) {
  start({.answer = 600s});
  control_client client = connect();
  std::uint64_t nr_reads = 0;
  const auto recorded = client.record([](std::string_view) { return result<>{}; },
                                      [&] {
                                        for (; nr_reads < 8; ++nr_reads) { // each told by itself
                                          ask_for(request::operation::read, 0, 512);
                                          std::this_thread::sleep_for(100ms);
                                        }
                                        return true;
                                      });
  ASSERT_THAT(recorded, succeeds());
  EXPECT_EQ(recorded->nr_requests, nr_reads);
}

TEST_F(control_server_record_test, one_at_a_time_and_it_ends_with_its_client) {
  start();
  {
    const file_descriptor first = connect_raw();
    (void)::send(first.get(), "record\n", 7, MSG_NOSIGNAL);
    wait_until_it_records();
    control_client second = connect();
    EXPECT_THAT(second.ask("record"), fails_with(failure::failed, HasSubstr("recording already")));
    EXPECT_THAT(second.ask("status"), succeeds());
  }
  while (runtime_.recorder().is_on()) {
    std::this_thread::sleep_for(1ms);
  }
}

TEST_F(control_server_record_test, the_end_of_the_cache_is_the_end_of_the_recording) {
  start();
  const std::jthread other{[this] {
    wait_until_it_records();
    ask_for(request::operation::read, 0, 512);
    server_->finish({});
  }};
  const auto recorded = record(1000);
  ASSERT_THAT(recorded, succeeds());
  EXPECT_EQ(recorded->nr_requests, 1);
}

TEST_F(control_server_record_test, who_may_only_ask_for_the_status_may_not_record) {
  start();
  auto client = control_client::connect(status_path());
  ASSERT_THAT(client, succeeds());
  EXPECT_THAT(client->ask("record"), fails_with(failure::usage));
  EXPECT_FALSE(runtime_.recorder().is_on());
}

} // namespace
} // namespace dmcache
