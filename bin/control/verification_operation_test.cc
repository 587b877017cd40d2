#include "bin/control/control_server_test.h"
#include "bin/control/verification_json.h"

namespace dmcache {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::Pair;
using testing::SizeIs;

class verification_operation_test : public control_server_test {
 protected:
  result<verification_summary> verify(const std::string &request) {
    found.clear();
    auto client = connect();
    const auto answer = client.ask(
        request, [&](auto done, auto total) { progress.emplace_back(done, total); },
        [&](std::string_view find) { found.emplace_back(find); });
    return answer ? summary_from_json(*answer)
                  : result<verification_summary>{std::unexpected{answer.error()}};
  }

  std::vector<std::string> found;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> progress;
};

TEST_F(verification_operation_test, tells_what_was_found_in_order_of_the_origin) {
  start();
  runtime_.allow_cleaning();
  const auto summary = verify("verify");
  ASSERT_THAT(summary, succeeds());
  EXPECT_EQ(summary->clean, 9000U);
  EXPECT_EQ(summary->clean_differing, 1000U);
  EXPECT_EQ(summary->stale_left, 1000U);
  EXPECT_EQ(summary->dirty_equal, 1000U);
  EXPECT_EQ(summary->cleared + summary->dropped, 0U);
  ASSERT_THAT(found, SizeIs(2000));
  EXPECT_EQ(found[0], "stale 9996 3");
  EXPECT_EQ(found[1], "equal 9995 4");
  EXPECT_EQ(found[1999], "equal 5 9994");
}

TEST_F(verification_operation_test, passes_on_what_is_to_be_changed) {
  start();
  runtime_.allow_cleaning();
  const auto cleared = verify("verify clear-equal");
  ASSERT_THAT(cleared, succeeds());
  EXPECT_EQ(cleared->cleared, 1000U);
  EXPECT_EQ(cleared->dropped, 0U);
  const auto dropped = verify("verify force-differing drop-stale");
  ASSERT_THAT(dropped, succeeds());
  EXPECT_EQ(dropped->cleared, 0U);
  EXPECT_EQ(dropped->dropped, 1000U);
  EXPECT_EQ(dropped->stale_left, 0U);
}

TEST_F(verification_operation_test, tells_how_far_it_has_come) {
  start();
  std::jthread client{[&] { EXPECT_THAT(verify("verify"), succeeds()); }};
  runtime_.wait_for_comparing();
  std::this_thread::sleep_for(600ms); // so that progress is told
  runtime_.allow_cleaning();
  client.join();
  EXPECT_THAT(progress, Contains(Pair(0U, 10000U)));
}

TEST_F(verification_operation_test, ends_when_its_client_is_gone) {
  start();
  {
    const file_descriptor client = connect_raw();
    (void)::send(client.get(), "verify\n", 7, 0);
    runtime_.wait_for_comparing();
  }
  std::this_thread::sleep_for(1s); // in which the server tries to tell its progress
  runtime_.allow_cleaning();
  EXPECT_TRUE(is_granted_soon("verify"));
  EXPECT_LT(runtime_.nr_comparing(), 40U); // twenty for each that comes to its end
}

TEST_F(verification_operation_test, ends_with_the_cache) {
  start();
  std::jthread client{[&] {
    EXPECT_THAT(verify("verify"), fails_with(failure::failed, "the cache is being shut down"));
  }};
  runtime_.wait_for_comparing();
  server_->finish(runtime_.close());
}

} // namespace
} // namespace dmcache
