#include "caching/replay/replay_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace dmcache {
namespace {

using testing::ElementsAre;
using testing::Pair;

constexpr std::uint64_t mebibyte = 1 << 20;

// Of two policies in two caches, the larger one first.
class replay_report_test : public testing::Test {
 protected:
  replay_report_test() {
    outcomes_[0].sizes[0].counts[0] = {600, 400, 30, 20, 10, 5 * mebibyte};
    outcomes_[0].sizes[1].counts[0] = {100, 900, 3, 2, 1, mebibyte};
  }

  trace replayed_{{{1, false, sectors{0}, bytes{512}}, {3.5, true, sectors{0}, bytes{512}}}, 7};
  replay_plan plan_{{bytes{65536}},
                    {{{}, 50}, {{}, 5}},
                    {{"sift", {{"read_touches", "3"}, {"fill_budget", "1"}}}, {"lru", {}}},
                    {replay_mode::writethrough, 9}};
  std::vector<replay_of_blocks> outcomes_{
      {bytes{65536},
       {320, 5000, 1000},
       {{160, std::vector<replay_counts>(2)}, {16, std::vector<replay_counts>(2)}}}};
  replay_report report_{"a.gz", replayed_, plan_, outcomes_};
};

TEST_F(replay_report_test, the_table_has_a_row_for_each_replay) {
  EXPECT_EQ(
      as_table(report_),
      "a.gz: 2 requests in 2.5 s, 50.0 % reads; a request counts for each block that it "
      "touches\n"
      "\n"
      "blocks of 64 KiB: 320 are touched, 20.0 MiB, 1000 times\n"
      "cache in MiB  touched    blocks  policy                            miss ratio promotions "
      "demotions written back  MiB to fast device\n"
      "        10.0    50.0%       160  sift:read_touches=3:fill_budget=1     0.4000         30 "
      "       20           10                 5.0\n"
      "        10.0    50.0%       160  lru                                   0.0000          0 "
      "        0            0                 0.0\n"
      "         1.0     5.0%        16  sift:read_touches=3:fill_budget=1     0.9000          3 "
      "        2            1                 1.0\n"
      "         1.0     5.0%        16  lru                                   0.0000          0 "
      "        0            0                 0.0");
}

TEST_F(replay_report_test, json_has_all_there_is) {
  const auto told = nlohmann::json::parse(as_json(report_));
  EXPECT_EQ(told["trace"], "a.gz");
  EXPECT_EQ(told["requests"], 2);
  EXPECT_EQ(told["reads"], 1);
  EXPECT_EQ(told["discards_left_out"], 7);
  EXPECT_EQ(told["seconds"], 2.5);
  EXPECT_EQ(told["mode"], "writethrough");
  EXPECT_EQ(told["delay"], 9);
  ASSERT_EQ(told["replays"].size(), 4);
  EXPECT_EQ(told["replays"][2], (nlohmann::json{{"policy", "sift:read_touches=3:fill_budget=1"},
                                                {"block_size", 65536},
                                                {"cache_size", mebibyte},
                                                {"cache_blocks", 16},
                                                {"touched_blocks", 320},
                                                {"hits", 100},
                                                {"misses", 900},
                                                {"miss_ratio", 0.9},
                                                {"promotions", 3},
                                                {"demotions", 2},
                                                {"written_back", 1},
                                                {"bytes_to_fast_device", mebibyte}}));
}

TEST_F(replay_report_test, json_survives_a_name_that_is_no_utf8) {
  const replay_report odd{"\xff", replayed_, plan_, outcomes_};
  EXPECT_EQ(nlohmann::json::parse(as_json(odd))["trace"], "\xef\xbf\xbd");
}

TEST_F(replay_report_test, charts_have_a_line_for_each_policy_from_the_smallest_cache_on) {
  const std::vector<chart> charts = as_charts(report_);
  ASSERT_EQ(charts.size(), 2);
  EXPECT_EQ(charts[0].title, "a.gz, blocks of 64 KiB");
  ASSERT_EQ(charts[0].lines.size(), 2);
  EXPECT_EQ(charts[0].lines[0].name, "sift:read_touches=3:fill_budget=1");
  EXPECT_THAT(charts[0].lines[0].points, ElementsAre(Pair(1, 0.9), Pair(10, 0.4)));
  EXPECT_THAT(charts[1].lines[0].points, ElementsAre(Pair(1, 1), Pair(10, 5)));
}

} // namespace
} // namespace dmcache
