#include "bin/control/control_server_test.h"

#include <random>

#include "bin/control/control_protocol.h"

namespace dmcache {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

TEST_F(control_server_test, tells_the_status) {
  start();
  runtime_.set_dirty(7);
  control_client client = connect();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(status_from_json(*client.ask("status"))->dirty, 7U);
  }
}

TEST_F(control_server_test, tells_how_large_the_cache_should_be) {
  start();
  const auto advice = advice_from_json(*connect().ask("advise"));
  ASSERT_THAT(advice, succeeds());
  EXPECT_EQ(advice->nr_blocks, 100);
}

TEST_F(control_server_test, tells_what_is_known_of_a_block) {
  start();
  control_client client = connect();
  EXPECT_THAT(sentences_of_explanation(*client.ask("explain 999")),
              succeeds_with("It is not cached.\n"));
  EXPECT_THAT(client.ask("explain 1000"), fails_with(failure::usage, "beyond the end"));
  EXPECT_THAT(client.ask("explain much"),
              fails_with(failure::usage, "'much' is no number of bytes"));
  EXPECT_THAT(sentences_of_explanation("{}"), fails_with(failure::environment));
}

TEST_F(control_server_test, passes_messages_on) {
  start();
  control_client client = connect();
  EXPECT_THAT(client.ask("message migration_threshold 4096"), succeeds());
  EXPECT_THAT(client.ask("message invalidate_cblocks 1 5-9"),
              fails_with(failure::usage, "a key and a value"));
  EXPECT_THAT(runtime_.messages(), ElementsAre(ElementsAre("migration_threshold", "4096"),
                                               ElementsAre("invalidate_cblocks", "1", "5-9")));
}

TEST_F(control_server_test, tells_what_has_grown_or_why_that_is_not_taken_up) {
  start();
  control_client client = connect();
  EXPECT_THAT(client.ask("resize"), succeeds_with("the devices are as large as before"));
  runtime_.set_growth("the origin has 9 sectors, and had 8");
  EXPECT_THAT(client.ask("resize"), succeeds_with("the origin has 9 sectors, and had 8"));
  runtime_.set_growth(fail(failure::failed, "the origin\nhas shrunk"));
  EXPECT_THAT(client.ask("resize"), fails_with(failure::failed, "the origin has shrunk"));
  EXPECT_THAT(client.ask("resize more"), fails_with(failure::usage));
}

TEST_F(control_server_test, changes_the_mode) {
  start();
  control_client client = connect();
  EXPECT_THAT(client.ask("set mode writethrough"), succeeds());
  EXPECT_EQ(runtime_.options().mode, cache_mode::writethrough);
  EXPECT_THAT(client.ask("set mode sideways"),
              fails_with(failure::usage,
                         "'sideways' is no mode: writeback, writethrough and passthrough are"));
  // What the runtime says stays one line.
  EXPECT_THAT(client.ask("set mode passthrough"),
              fails_with(failure::failed, "passthrough is refused"));
  EXPECT_EQ(runtime_.options().mode, cache_mode::writethrough);
}

TEST_F(control_server_test, changes_the_policy_and_nothing_else) {
  start();
  control_client client = connect();
  EXPECT_THAT(client.ask("set mode writethrough"), succeeds());
  EXPECT_THAT(client.ask("set policy cleaner key value other 2"), succeeds());
  EXPECT_EQ(runtime_.options().policy, "cleaner");
  EXPECT_THAT(runtime_.options().policy_settings,
              ElementsAre(std::pair{"key", "value"}, std::pair{"other", "2"}));
  EXPECT_EQ(runtime_.options().mode, cache_mode::writethrough);
  EXPECT_THAT(client.ask("set policy smq key"), fails_with(failure::usage));
}

TEST_F(control_server_test, tells_its_owner_of_each_change_before_the_client) {
  start();
  control_client client = connect();
  unsigned nr_told = 0;
  for (const char *change : {"set mode writethrough", "set policy cleaner", "message key value"}) {
    EXPECT_THAT(client.ask(change), succeeds());
    EXPECT_EQ(nr_changes_, ++nr_told) << change;
  }
  for (const char *other : {"status", "set mode passthrough", "message key"}) {
    [[maybe_unused]] const auto answered = client.ask(other);
    EXPECT_EQ(nr_changes_, nr_told) << other;
  }
}

TEST_F(control_server_test, answers_others_while_one_waits) {
  start();
  runtime_.set_dirty(10);
  std::vector<std::pair<std::uint64_t, std::uint64_t>> progress;
  std::jthread cleaner{[&] {
    const auto cleaned = connect().ask("clean", [&](auto done, auto total) {
      progress.emplace_back(done, total);
      done == 0 ? runtime_.set_dirty(4) : runtime_.allow_cleaning();
    });
    EXPECT_THAT(cleaned, succeeds());
  }};
  runtime_.wait_for_cleaning(1);
  expect_alive();
  EXPECT_THAT(connect().ask("set mode writethrough"), succeeds());
  cleaner.join();
  EXPECT_THAT(progress, testing::Contains(std::pair{6U, 10U}));
}

TEST_F(control_server_test, bounds_what_is_under_way) {
  start();
  std::vector<file_descriptor> clients;
  for (unsigned i = 1; i <= 4; ++i) {
    clients.push_back(connect_raw());
    (void)::send(clients.back().get(), "clean\n", 6, 0);
    runtime_.wait_for_cleaning(i);
  }
  EXPECT_THAT(connect().ask("clean"),
              fails_with(failure::failed, StartsWith("4 requests are under way already")));
  expect_alive();
  clients.clear(); // they went, but what they asked for did not
  EXPECT_THAT(connect().ask("clean"), fails());
  runtime_.allow_cleaning();
  EXPECT_TRUE(is_granted_soon("clean"));
}

TEST_F(control_server_test, bounds_the_number_of_clients) {
  start({.nr_clients = 2});
  const file_descriptor first = connect_raw();
  auto second = std::optional{connect_raw()};
  EXPECT_THAT(connect().ask("status"),
              fails_with(failure::environment, StartsWith("too many clients")));
  EXPECT_THAT(say(first, "status\n"), StartsWith("ok {"));
  second.reset();
  EXPECT_TRUE(is_granted_soon("status"));
}

TEST_F(control_server_test, refuses_what_is_no_request) {
  start();
  const file_descriptor client = connect_raw();
  for (const std::string text :
       {"frobnicate\n", "\n", "   \n", "status now\n", "set\n", "set mode\n", "message\n",
        "clean all\n", "verify all\n", "verify force\n", "stop it\n", "set cleaning\n",
        "stop clean now\n", "set policy\n", "ok\n"}) {
    EXPECT_THAT(say(client, text), StartsWith("error usage requests are: status,")) << text;
  }
  EXPECT_THAT(say(client, "stat\tus\n"), HasSubstr("printable characters"));
  EXPECT_THAT(say(client, "  status  \n"), StartsWith("ok {"));
}

TEST_F(control_server_test, hangs_up_on_requests_without_an_end) {
  start();
  for (const std::size_t size : {max_request_size, 10 * max_request_size}) {
    const file_descriptor client = connect_raw();
    EXPECT_EQ(say(client, std::string(size, 'x')),
              "error usage a request has at most 4096 bytes\n");
    EXPECT_TRUE(is_hung_up(client));
  }
  EXPECT_THAT(say(connect_raw(), std::string(max_request_size - 1, 'x') + '\n'),
              StartsWith("error usage requests are"));
}

TEST_F(control_server_test, survives_garbage) {
  start();
  const int seed = testing::UnitTest::GetInstance()->random_seed();
  SCOPED_TRACE(seed);
  std::mt19937 chance{static_cast<unsigned>(seed)};
  for (int i = 0; i < 200; ++i) {
    std::string text(chance() % (3 * max_request_size), '\0');
    std::ranges::generate(text, [&] { return static_cast<char>(chance()); });
    const file_descriptor client = connect_raw();
    (void)::send(client.get(), text.data(), text.size(), MSG_NOSIGNAL);
  }
  expect_alive();
}

TEST_F(control_server_test, survives_half_requests_and_clients_that_vanish) {
  start({.nr_clients = 1000});
  const std::string_view text = "set mode writethrough\n";
  for (std::size_t size = 0; size <= text.size(); ++size) {
    const file_descriptor client = connect_raw();
    (void)::send(client.get(), text.data(), size, MSG_NOSIGNAL);
  }
  expect_alive();
}

TEST_F(control_server_test, answers_all_that_is_sent_at_a_time) {
  start();
  const file_descriptor client = connect_raw();
  EXPECT_THAT(say(client, "status\nset mode writethrough\nstatus\n"), StartsWith("ok {"));
  EXPECT_EQ(hear(client), "ok\n");
  EXPECT_THAT(hear(client), StartsWith("ok {"));
}

TEST_F(control_server_test, hangs_up_on_clients_that_keep_it_waiting) {
  start({.request = 50ms});
  const file_descriptor silent = connect_raw();
  const file_descriptor halting = connect_raw();
  (void)::send(halting.get(), "sta", 3, 0);
  EXPECT_TRUE(is_hung_up(silent));
  EXPECT_TRUE(is_hung_up(halting));
  expect_alive();
}

TEST_F(control_server_test, hangs_up_on_clients_that_take_no_answer) {
  start({.answer = 50ms});
  const file_descriptor client = connect_raw();
  std::string many;
  for (int i = 0; i < 1000; ++i) {
    many += "status\n";
  }
  for (int i = 0; i < 20; ++i) {
    (void)::send(client.get(), many.data(), many.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  }
  EXPECT_TRUE(is_hung_up(client));
  expect_alive();
}

TEST_F(control_server_test, passes_on_settings_of_what_is_dirty) {
  start();
  control_client client = connect();
  EXPECT_THAT(client.ask("set cleaning on-request"), succeeds());
  EXPECT_THAT(client.ask("set max-dirty 25%"), succeeds());
  EXPECT_THAT(runtime_.messages(),
              ElementsAre(ElementsAre("cleaning", "on-request"), ElementsAre("max_dirty", "25%")));
  EXPECT_EQ(nr_changes_, 2U);
}

TEST_F(control_server_test, is_missed_by_its_clients_only_when_its_process_has_ended) {
  start();
  const auto ended = connect().wait_for_its_end(0s); // of this process
  EXPECT_THAT(ended, fails_with(failure::failed, "the cache at " + path() +
                                                     " is shut down, but its server hasn't ended "
                                                     "within 0 seconds: end it by kill"));
}

TEST_F(control_server_test, ends_what_is_under_way_before_it_ends) {
  start();
  const std::jthread client{[&] {
    EXPECT_THAT(connect().ask("clean"),
                fails_with(failure::failed, "the cache is being shut down"));
  }};
  runtime_.wait_for_cleaning(1);
  const file_descriptor idle = connect_raw();
  server_->finish(runtime_.close());
  EXPECT_TRUE(is_hung_up(idle));
}

TEST_F(control_server_test, ends_although_a_client_takes_no_answer) {
  start({.answer = 1h}); // in which it would hang
  const file_descriptor client = connect_raw();
  std::string many;
  for (int i = 0; i < 1000; ++i) {
    many += "status\n";
  }
  for (int i = 0; i < 20; ++i) {
    (void)::send(client.get(), many.data(), many.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  }
  server_.reset();
}

TEST_F(control_server_test, tells_the_status_and_nothing_else_at_the_status_socket) {
  start();
  auto client = control_client::connect(status_path());
  ASSERT_THAT(client, succeeds());
  for (const char *request : {"message key value", "set mode writethrough", "set policy cleaner",
                              "set cleaning on-request", "set max-dirty 25%", "clean", "stop",
                              "stop clean", "status now", "frobnicate", ""}) {
    EXPECT_THAT(client->ask(request),
                fails_with(failure::usage, "this socket tells the status and nothing else: all "
                                           "other requests go to the control socket"))
        << request;
  }
  EXPECT_THAT(client->ask("status"), succeeds_with(StartsWith("{")));
  EXPECT_THAT(runtime_.messages(), testing::IsEmpty());
  EXPECT_EQ(runtime_.options().mode, engine_options{}.mode);
  EXPECT_EQ(nr_stops_ + nr_changes_, 0U);
  struct stat found{};
  EXPECT_EQ(::stat(status_path().c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 07777, 0666U);
}

TEST_F(control_server_test, keeps_places_for_those_who_control) {
  start({.nr_clients = 1});
  const auto watching = connect_to(status_path());
  ASSERT_THAT(watching, succeeds());
  auto other = control_client::connect(status_path());
  ASSERT_THAT(other, succeeds());
  EXPECT_THAT(other->ask("status"),
              fails_with(failure::environment, StartsWith("too many clients")));
  EXPECT_THAT(connect().ask("set mode writethrough"), succeeds());
}

TEST_F(control_server_test, refuses_a_socket_in_use) {
  start();
  EXPECT_THAT(control_server::start(runtime_, {.control = path()}, {.stop = [] {}, .resize = {}}),
              fails_with(failure::environment, HasSubstr("a server is running there")));
  expect_alive();
}

TEST(control_client, says_what_to_do_without_a_server) {
  EXPECT_THAT(control_client::connect("/nowhere/control"),
              fails_with(failure::environment,
                         "no cache listens at /nowhere/control: No such file or directory: "
                         "serve it with cache_serve --control /nowhere/control"));
}

} // namespace
} // namespace dmcache
