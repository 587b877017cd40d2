#include "bin/control/status_text.h"

#include <gmock/gmock.h>

#include "bin/control/status_metrics.h"

namespace dmcache {
namespace {

using testing::HasSubstr;
using testing::Not;
using namespace std::chrono_literals;

engine_status some_status() {
  engine_status made;
  made.origin_size = sectors{3 << 20};
  made.block_size = sectors{128};
  made.cache_total = 2048;
  made.cache_used = 1024;
  made.dirty = 512;
  made.max_dirty = 2048;
  made.metadata_total = 1024;
  made.metadata_used = 64;
  made.metadata_version = 2;
  made.mode_of_metadata = metadata_mode::write;
  made.migration_threshold = sectors{2048};
  made.policy = "smq";
  made.statistics = {.read_hits = 900, .read_misses = 100};
  made.counts.promotions = 10;
  return made;
}

TEST(status_text, tells_what_people_want_to_know) {
  EXPECT_EQ(readable_status({some_status(), {}}),
            "mode        writeback, policy smq, migration threshold 1 MiB\n"
            "origin      1.5 GiB\n"
            "cache       2048 blocks of 64 KiB: 1024 used (50.0 %), 512 dirty (25.0 %)\n"
            "metadata    64 of 1024 blocks used (6.2 %), format 2, 0 commits, dirty bits exact\n"
            "reads       900 hits, 100 misses: 90.0 % hit\n"
            "writes      0 hits, 0 misses: - hit\n"
            "migrations  10 promotions, 0 demotions, 0 writebacks, 0 under way\n");
}

TEST(status_text, tells_what_is_held_off_and_bounded) {
  engine_status bounded = some_status();
  bounded.cleaning = cleaning_trigger::on_request;
  bounded.max_dirty = 1024;
  const std::string text = readable_status({bounded, {}});
  EXPECT_THAT(text, HasSubstr("migration threshold 1 MiB, cleaning on request\n"));
  EXPECT_THAT(text, HasSubstr("512 dirty (25.0 %; at most 50.0 %)\n"));
}

TEST(status_text, tells_that_the_metadata_device_is_nearly_full) {
  engine_status filling = some_status();
  filling.metadata_total = 100;
  filling.metadata_used = 80;
  EXPECT_EQ(metadata_shortage_of(filling), "");
  filling.metadata_used = 81;
  EXPECT_THAT(metadata_shortage_of(filling), testing::StartsWith("81 of 100 metadata blocks are in "
                                                                 "use: "));
  EXPECT_THAT(readable_status({filling, {}}), HasSubstr("room        81 of 100 metadata blocks"));
}

TEST(status_text, tells_what_the_origin_lacks) {
  engine_status left = some_status();
  EXPECT_EQ(incompleteness_of(left), "512 dirty blocks, 32 MiB, are on the fast device alone: the "
                                     "origin is not complete without it");
  left.dirty = 0;
  EXPECT_EQ(incompleteness_of(left), "");
}

TEST(status_text, tells_rates_since_an_earlier_one) {
  const status_sample before{some_status(), {}};
  status_sample now{some_status(), before.taken + 2s};
  now.status.statistics.read_hits += 30;
  now.status.statistics.read_misses += 10;
  now.status.counts.promotions += 8;
  const std::string text = readable_status(now, &before);
  EXPECT_THAT(text, HasSubstr("110 misses: 89.4 % hit; now 20/s, 75.0 % hit\n"));
  EXPECT_THAT(text, HasSubstr("0 under way; now 4/s, 0/s, 0/s\n"));
}

TEST(status_text, knows_that_statistics_wrap) {
  status_sample before{some_status(), {}};
  before.status.statistics.read_hits = 0xfffffffe;
  status_sample now{some_status(), before.taken + 1s};
  now.status.statistics.read_hits = 2;
  EXPECT_THAT(readable_status(now, &before), HasSubstr("now 4/s, 100.0 % hit"));
}

TEST(status_text, tells_what_failed) {
  engine_status failing = some_status();
  failing.counts.migration_errors = 3;
  failing.counts.fast_errors_served = 4;
  EXPECT_THAT(
      readable_status({failing, {}}),
      HasSubstr("errors      3 promotions, demotions and writebacks failed, 4 reads that the "
                "fast device failed were served from the origin\n"));
}

TEST(status_text, says_what_somebody_has_to_do) {
  EXPECT_THAT(readable_status({some_status(), {}}), Not(HasSubstr("cache_check")));
  engine_status broken = some_status();
  broken.needs_check = true;
  const std::string remedy = "NEEDS_CHECK is set: stop, run cache_check, and if it finds nothing, "
                             "cache_check --clear-needs-check-flag.\n";
  EXPECT_THAT(readable_status({broken, {}}), HasSubstr(remedy));
  broken.mode_of_metadata = metadata_mode::read_only;
  EXPECT_THAT(readable_status({broken, {}}), HasSubstr("all that is cached will count as dirty"));
  EXPECT_THAT(readable_status({broken, {}}), HasSubstr(remedy));
  broken.mode_of_metadata = metadata_mode::fail;
  EXPECT_THAT(readable_status({broken, {}}), HasSubstr("nothing is served any more"));
}

TEST(status_metrics, escapes_what_names_the_cache) {
  EXPECT_THAT(metrics_text(some_status(), "a\"b\\c\nd"),
              HasSubstr(R"(dmcache_cache_blocks{cache="a\"b\\c\nd"} 2048)"));
}

TEST(status_metrics, has_one_of_each_set_of_states) {
  const std::string text = metrics_text(some_status(), "c");
  EXPECT_THAT(text, HasSubstr(R"(dmcache_mode{cache="c",mode="writeback"} 1)"));
  EXPECT_THAT(text, HasSubstr(R"(dmcache_mode{cache="c",mode="writethrough"} 0)"));
  EXPECT_THAT(text, testing::EndsWith("\n# EOF\n"));
}

TEST(status_text, tells_what_a_new_cache_takes) {
  engine_status status;
  status.block_size = sectors{256};
  status.cache_total = 1 << 20;
  EXPECT_THAT(
      description_of_new(status),
      testing::StartsWith("a new cache of 128 GiB: 1048576 blocks of 128 KiB; when it is full it "
                          "takes up to 32 MiB of memory, and "));
}

} // namespace
} // namespace dmcache
