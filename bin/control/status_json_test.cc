#include "bin/control/status_json.h"

#include <gmock/gmock.h>

#include "base/testing/matchers.h"

namespace dmcache {
namespace {

engine_status full_status() {
  engine_status made;
  made.origin_size = sectors{131072};
  made.metadata_used = 9;
  made.metadata_total = 1024;
  made.block_size = sectors{128};
  made.cache_used = 256;
  made.cache_total = 300;
  made.statistics = {8050, 3585, 21309, 4294967295};
  made.counts = {.demotions = 1, .promotions = 2, .writebacks = 3, .commits = 1ULL << 40};
  made.dirty = 64;
  made.max_dirty = 150;
  made.cleaning = cleaning_trigger::on_request;
  made.migrating = 5;
  made.metadata_version = 2;
  made.mode = cache_mode::writethrough;
  made.discard_passdown = false;
  made.migration_threshold = sectors{2048};
  made.policy = "smq";
  made.policy_settings = {{"z", "1"}, {"a", "2"}};
  made.tracking = dirty_tracking::at_shutdown;
  made.mode_of_metadata = metadata_mode::read_only;
  made.is_read_only = true;
  made.needs_check = true;
  return made;
}

TEST(status_json, keeps_all_that_it_is_told) {
  const std::string text = to_json(full_status());
  const auto back = status_from_json(text);
  ASSERT_THAT(back, succeeds());
  EXPECT_EQ(to_json(*back), text);
  EXPECT_EQ(status_line(*back), status_line(full_status()));
  EXPECT_EQ(back->counts.commits, 1ULL << 40);
  EXPECT_EQ(back->migrating, 5U);
}

TEST(status_json, is_one_line) {
  EXPECT_EQ(to_json(full_status()).find('\n'), std::string::npos);
}

TEST(status_json, survives_a_policy_that_says_no_utf8) {
  engine_status odd = full_status();
  odd.policy_settings = {{"key", "\xff\n"}};
  const auto back = status_from_json(to_json(odd));
  ASSERT_THAT(back, succeeds());
  EXPECT_EQ(back->policy_settings.front().second, "\xef\xbf\xbd\n");
}

TEST(status_json, refuses_what_is_something_else) {
  const std::string good = to_json(full_status());
  const auto with = [&](const std::string &old, const std::string &other) {
    std::string changed = good;
    return changed.replace(changed.find(old), old.size(), other);
  };
  for (const std::string &text :
       {std::string{}, std::string{"[]"}, std::string{"{}"}, good.substr(1),
        with("writethrough", "sideways"), with("131072", "\"many\""), with("131072", "131072.5"),
        with("131072", "-1"), with("131072", "1e40"),
        with("\"metadata_version\":", "\"metadata_version\":429496730"),
        with("\"read_only\",", "\"broken\",")}) {
    EXPECT_THAT(
        status_from_json(text),
        fails_with(failure::environment, testing::StartsWith("this is no status of a cache: ")))
        << text;
  }
}

TEST(status_json, ignores_what_it_does_not_know) {
  EXPECT_THAT(status_from_json("{\"news\":1," + to_json(full_status()).substr(1)), succeeds());
}

} // namespace
} // namespace dmcache
