#include "caching/engine/flush_record.h"

#include <gtest/gtest.h>

namespace dmcache {
namespace {

class flush_record_test : public testing::Test {
 protected:
  flush_record flushes;
};

TEST_F(flush_record_test, what_was_written_needs_a_flush_until_one_begins) {
  EXPECT_FALSE(flushes.is_needed(cache_device::fast));
  flushes.wrote(cache_device::fast);
  EXPECT_TRUE(flushes.is_needed(cache_device::fast));
  EXPECT_FALSE(flushes.is_needed(cache_device::origin));
  flushes.begin(cache_device::fast);
  EXPECT_FALSE(flushes.is_needed(cache_device::fast));
}

TEST_F(flush_record_test, what_is_written_while_a_flush_is_under_way_needs_another_one) {
  flushes.wrote(cache_device::origin);
  flushes.begin(cache_device::origin);
  flushes.wrote(cache_device::origin);
  EXPECT_TRUE(flushes.is_needed(cache_device::origin));
}

TEST_F(flush_record_test, what_was_written_is_durable_when_the_flush_has_ended) {
  EXPECT_TRUE(flushes.is_all_durable(cache_device::origin));
  flushes.wrote(cache_device::origin);
  flushes.begin(cache_device::origin);
  EXPECT_FALSE(flushes.is_all_durable(cache_device::origin));
  flushes.ended(cache_device::origin);
  EXPECT_TRUE(flushes.is_all_durable(cache_device::origin));
  flushes.begin(cache_device::origin);
  flushes.ended(cache_device::origin);
  flushes.failed(cache_device::origin);
  EXPECT_FALSE(flushes.is_all_durable(cache_device::origin));
}

TEST_F(flush_record_test, a_flush_that_failed_is_needed_again_and_remembered) {
  const auto before = flushes.now();
  const auto fast_before = flushes.fast_now();
  flushes.begin(cache_device::origin);
  flushes.failed(cache_device::origin);
  EXPECT_TRUE(flushes.is_needed(cache_device::origin));
  EXPECT_TRUE(flushes.has_failed_since(before));
  EXPECT_FALSE(flushes.has_fast_failed_since(fast_before));
  EXPECT_FALSE(flushes.has_failed_since(flushes.now()));
  flushes.failed(cache_device::fast);
  EXPECT_TRUE(flushes.has_fast_failed_since(fast_before));
  EXPECT_TRUE(flushes.has_ever_failed());
}

TEST_F(flush_record_test, a_failure_by_which_no_client_loses_anything_is_none_of_theirs) {
  const auto before = flushes.now();
  const auto fast_before = flushes.fast_now();
  flushes.failed(cache_device::fast, false);
  EXPECT_TRUE(flushes.is_needed(cache_device::fast));
  EXPECT_TRUE(flushes.has_fast_failed_since(fast_before));
  EXPECT_FALSE(flushes.has_failed_since(before));
  EXPECT_FALSE(flushes.is_any_untold());
}

TEST_F(flush_record_test, a_failure_is_told_once) {
  EXPECT_FALSE(flushes.is_any_untold());
  flushes.failed(cache_device::fast);
  EXPECT_TRUE(flushes.is_any_untold());
  flushes.told();
  EXPECT_FALSE(flushes.is_any_untold());
}

TEST_F(flush_record_test, a_write_that_was_under_way_has_it_told_again) {
  const auto begun = flushes.now();
  flushes.failed(cache_device::fast);
  flushes.told();
  flushes.acknowledged(flushes.now()); // of a write that began afterwards
  EXPECT_FALSE(flushes.is_any_untold());
  flushes.acknowledged(begun);
  EXPECT_TRUE(flushes.is_any_untold());
}

} // namespace
} // namespace dmcache
