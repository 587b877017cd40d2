#include "bin/control/settings_line.h"

#include <gmock/gmock.h>

namespace dmcache {
namespace {

using testing::ElementsAre;
using testing::Pair;

engine_options changed_options() {
  engine_options made;
  made.mode = cache_mode::writethrough;
  made.policy = "mq";
  made.policy_settings = {{"sequential_threshold", "7"}, {"random_threshold", "3"}};
  made.migration_threshold = sectors{4096};
  made.discard_passdown = false;
  made.cleaning = cleaning_trigger::on_request;
  made.max_dirty = {25, true};
  made.accepted.resized = true;
  return made;
}

TEST(settings_line, is_one_line) {
  EXPECT_EQ(
      settings_line(changed_options()),
      R"({"mode":"writethrough","policy":"mq","policy_settings":[["sequential_threshold","7"],)"
      R"(["random_threshold","3"]],"migration_threshold_sectors":4096,"discard_passdown":false,)"
      R"("cleaning":"on-request","max_dirty":"25%","accept_resize":true})");
}

TEST(settings_line, keeps_all_that_can_be_changed_and_changes_nothing_else) {
  engine_options into;
  into.block_size = sectors{256};
  into.read_only = true;
  into.policy_settings = {{"gone", "1"}};
  ASSERT_TRUE(take_settings(settings_line(changed_options()), into));
  EXPECT_EQ(into.mode, cache_mode::writethrough);
  EXPECT_EQ(into.policy, "mq");
  EXPECT_THAT(into.policy_settings,
              ElementsAre(Pair("sequential_threshold", "7"), Pair("random_threshold", "3")));
  EXPECT_EQ(into.migration_threshold, sectors{4096});
  EXPECT_FALSE(into.discard_passdown);
  EXPECT_EQ(into.cleaning, cleaning_trigger::on_request);
  EXPECT_EQ(text_of(into.max_dirty), "25%");
  EXPECT_TRUE(into.accepted.resized);
  EXPECT_EQ(into.block_size, sectors{256});
  EXPECT_TRUE(into.read_only);
}

TEST(settings_line, of_another_line_nothing_is_taken) {
  const std::string whole = settings_line(changed_options());
  engine_options into;
  for (std::size_t size = 0; size < whole.size(); ++size) { // as if it were cut short
    ASSERT_FALSE(take_settings(whole.substr(0, size), into)) << size;
  }
  EXPECT_FALSE(take_settings("[]", into));
  EXPECT_FALSE(take_settings(R"({"mode":"sideways"})", into));
  for (const std::string number : {"2.5", "-1", "208888888888888888888888888", "1e3", "\"7\""}) {
    std::string changed = whole;
    changed.replace(changed.find("4096"), 4, number);
    EXPECT_FALSE(take_settings(changed, into)) << number;
  }
  EXPECT_EQ(settings_line(into), settings_line(engine_options{}));
}

} // namespace
} // namespace dmcache
