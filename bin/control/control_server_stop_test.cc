// How a cache is stopped through its control socket.
#include "bin/control/control_server_test.h"

namespace dmcache {
namespace {

using testing::StartsWith;

using control_server_stop_test = control_server_test;

TEST_F(control_server_stop_test, tells_those_who_stop_it_how_that_went) {
  start();
  std::jthread one{[&] { EXPECT_THAT(connect().ask("stop"), succeeds()); }};
  std::jthread other{[&] { EXPECT_THAT(connect().ask("stop"), succeeds()); }};
  while (nr_stops_ < 2) {
    std::this_thread::sleep_for(1ms);
  }
  expect_alive();
  server_->finish(runtime_.close());
  server_.reset();
  EXPECT_FALSE(std::filesystem::exists(path()));
}

TEST_F(control_server_stop_test, tells_those_who_stop_it_what_the_origin_lacks) {
  start();
  std::jthread client{[&] {
    EXPECT_THAT(
        connect().ask("stop"),
        succeeds_with("1 dirty block, 64 KiB, is on the fast device alone: the origin is not "
                      "complete without it"));
  }};
  while (nr_stops_ == 0) {
    std::this_thread::sleep_for(1ms);
  }
  runtime_.set_dirty(1);
  server_->finish(runtime_.close());
}

TEST_F(control_server_stop_test, stops_when_all_is_written_back) {
  start();
  runtime_.set_dirty(10);
  std::jthread client{[&] { EXPECT_THAT(connect().ask("stop clean"), succeeds_with("")); }};
  runtime_.wait_for_cleaning(1);
  EXPECT_TRUE(runtime_.is_kept_clean());
  expect_alive();
  EXPECT_EQ(nr_stops_, 0U);
  runtime_.allow_cleaning();
  while (nr_stops_ == 0) {
    std::this_thread::sleep_for(1ms);
  }
  server_->finish(runtime_.close());
}

TEST_F(control_server_stop_test, stops_when_all_is_written_back_though_its_client_is_gone) {
  start();
  {
    const file_descriptor client = connect_raw();
    (void)::send(client.get(), "stop clean\n", 11, 0);
    runtime_.wait_for_cleaning(1);
  }
  runtime_.allow_cleaning();
  while (nr_stops_ == 0) {
    std::this_thread::sleep_for(1ms);
  }
}

TEST_F(control_server_stop_test, another_stop_does_not_wait_until_all_is_written_back) {
  start();
  runtime_.set_dirty(10);
  std::jthread cleaner{[&] {
    EXPECT_THAT(connect().ask("stop clean"),
                fails_with(failure::failed, "the cache is being shut down"));
  }};
  runtime_.wait_for_cleaning(1);
  std::jthread other{[&] {
    EXPECT_THAT(connect().ask("stop"), succeeds_with(StartsWith("10 dirty blocks, 640 KiB, are")));
  }};
  while (nr_stops_ == 0) {
    std::this_thread::sleep_for(1ms);
  }
  const result<> closed = runtime_.close();
  cleaner.join();
  server_->finish(closed);
}

TEST_F(control_server_stop_test, tells_that_the_cache_was_not_cleanly_shut_down) {
  start();
  std::jthread client{[&] {
    EXPECT_THAT(connect().ask("stop"), fails_with(failure::environment, "not cleanly shut down"));
  }};
  while (nr_stops_ == 0) {
    std::this_thread::sleep_for(1ms);
  }
  server_->finish(fail(failure::environment, "not cleanly shut down"));
}

} // namespace
} // namespace dmcache
