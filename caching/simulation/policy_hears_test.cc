// What a policy is told: how a miss could be promoted, and what reading the origin takes.
#include "base/testing/matchers.h"
#include "caching/simulation/cache_test.h"

namespace dmcache {
namespace {

using testing::ElementsAre;

class policy_hears_test : public cache_test {
 protected:
  static constexpr instant read_time = std::chrono::milliseconds{5};

  // Each I/O on the origin takes as long as any other.
  void make_even(instant time = read_time) {
    make();
    in->carrier().set_latency(cache_device::origin, {time, time, 0, {}});
  }
  void pass_second() { in->advance(std::chrono::seconds{1}); }
};

TEST_F(policy_hears_test, reads_and_writes_are_promoted_in_ways_of_their_own) {
  open();
  policy->promotes = false;
  EXPECT_THAT(in->read(part(0)), succeeds());
  EXPECT_THAT(in->read(whole(1)), succeeds());
  EXPECT_THAT(in->perform(operation::prefetch, part(2)), succeeds());
  EXPECT_THAT(in->write(part(3)), succeeds());
  EXPECT_THAT(in->write(whole(4)), succeeds());
  EXPECT_THAT(in->perform(operation::write_zeroes, whole(5)), succeeds());
  EXPECT_THAT(policy->offered,
              ElementsAre(promotion::by_copy, promotion::by_copy, promotion::by_copy,
                          promotion::after_write, promotion::without_copy, promotion::none));
}

TEST_F(policy_hears_test, reads_and_writes_of_cached_blocks_are_hits) {
  open();
  cache(1);
  EXPECT_EQ(policy->nr_hits, 0U);
  EXPECT_THAT(in->read(part(1)), succeeds());
  EXPECT_EQ(policy->nr_hits, 1U);
  EXPECT_THAT(in->write(part(1)), succeeds());
  EXPECT_EQ(policy->nr_hits, 2U);
  EXPECT_THAT(in->perform(operation::write_zeroes, part(1)), succeeds());
  EXPECT_EQ(policy->nr_hits, 3U);
  EXPECT_THAT(in->perform(operation::prefetch, part(1)), succeeds());
  EXPECT_THAT(in->perform(operation::discard, part(1)), succeeds());
  EXPECT_EQ(policy->nr_hits, 3U);
}

TEST_F(policy_hears_test, in_writethrough_all_writes_are_copied) {
  open(cache_mode::writethrough);
  EXPECT_THAT(in->write(whole(4)), succeeds());
  EXPECT_THAT(policy->offered, ElementsAre(promotion::after_write));
}

// Blocks of 2 MiB, which are copied in two steps.
TEST_F(policy_hears_test, how_long_reads_of_the_origin_and_copies_take) {
  block_size = 4096;
  devices = {.fast_size = blocks(4), .origin_size = blocks(8)};
  make_even();
  open();
  policy->promotes = false;
  EXPECT_THAT(in->read(part(0)), succeeds());
  pass_second();
  EXPECT_FALSE(policy->times); // one of the two is unknown
  policy->promotes = true;
  cache(1);
  pass_second();
  ASSERT_TRUE(policy->times);
  EXPECT_EQ(policy->times->miss, read_time);
  EXPECT_EQ(policy->times->block, 2 * read_time);
}

TEST_F(policy_hears_test, of_late_counts_more_than_of_old) {
  make_even();
  open();
  cache(1);
  policy->promotes = false;
  const auto read_often = [this](instant time, int count) {
    in->carrier().set_latency(cache_device::origin, {time, time, 0, {}});
    for (int i = 0; i < count; ++i) {
      EXPECT_THAT(in->read(part(2)), succeeds());
    }
    pass_second();
  };
  read_often(read_time, 200);
  EXPECT_EQ(policy->times->miss, read_time);
  read_often(2 * read_time, 22);
  EXPECT_GT(policy->times->miss, read_time * 14 / 10);
  EXPECT_LT(policy->times->miss, read_time * 16 / 10);
}

TEST_F(policy_hears_test, reads_of_the_fast_device_and_those_that_fail_take_no_time_of_the_origin) {
  make_even();
  open();
  cache(1);
  EXPECT_THAT(in->read(part(1)), succeeds());
  policy->promotes = false;
  EXPECT_THAT(in->write(part(2)), succeeds());
  in->device(cache_device::origin).add_fault({.op = simulated_device::operation::read});
  EXPECT_THAT(in->read(part(3)), fails_with(std::errc::io_error));
  pass_second();
  EXPECT_FALSE(policy->times);
}

// All blocks of a small cache are followed.
TEST_F(policy_hears_test, advice_takes_reads_and_writes_into_account_and_nothing_else) {
  open();
  const auto nr_heard = [this] { return in->engine().advice().progress; };
  EXPECT_EQ(nr_heard(), 0);
  EXPECT_THAT(in->read(part(1)), succeeds());
  const double one = nr_heard();
  EXPECT_GT(one, 0);
  EXPECT_THAT(in->write(part(2)), succeeds());
  EXPECT_DOUBLE_EQ(nr_heard(), 2 * one);
  EXPECT_THAT(in->perform(operation::prefetch, part(3)), succeeds());
  EXPECT_THAT(in->perform(operation::discard, part(4)), succeeds());
  EXPECT_THAT(in->flush(), succeeds());
  EXPECT_DOUBLE_EQ(nr_heard(), 2 * one);
}

TEST_F(policy_hears_test, the_status_has_its_settings) {
  make();
  engine_options how = options();
  how.policy = "sift";
  ASSERT_EQ(refusal(how), "");
  EXPECT_THAT(in->engine().status().policy_settings,
              testing::Contains(testing::Pair("read_touches", "auto")));
  EXPECT_FALSE(in->engine().status().is_read_only);
}

} // namespace
} // namespace dmcache
