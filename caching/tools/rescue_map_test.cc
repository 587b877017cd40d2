#include "caching/tools/rescue_map.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/testing/matchers.h"

namespace dmcache {
namespace {

class rescue_map_test : public testing::Test {
 protected:
  ~rescue_map_test() override { std::filesystem::remove(path_); }

  result<rescue_map> read(const std::string &text) {
    std::ofstream{path_} << text;
    return read_rescue_map(path_);
  }

  const std::string path_ = testing::TempDir() + "rescue_map_test." + std::to_string(::getpid());
};

TEST_F(rescue_map_test, tells_what_was_rescued) {
  const auto map = read("# Mapfile. Created by GNU ddrescue\n"
                        "# current_pos  current_status  current_pass\n"
                        "0x00002000     ?               1\n"
                        "#      pos        size  status\n"
                        "0x00000000  0x00001000  +\n"
                        "0x00001000  4096  -\n"
                        "0x00002000  020000  +\n");
  ASSERT_THAT(map, succeeds());
  EXPECT_TRUE(map->is_rescued(bytes{0}, bytes{0x1000}));
  EXPECT_FALSE(map->is_rescued(bytes{0}, bytes{0x1001}));
  EXPECT_FALSE(map->is_rescued(bytes{0x1fff}, bytes{0x2000}));
  EXPECT_TRUE(map->is_rescued(bytes{0x2000}, bytes{0x4000}));
  EXPECT_FALSE(map->is_rescued(bytes{0x2000}, bytes{0x4001}));
  EXPECT_FALSE(map->is_rescued(bytes{0x5000}, bytes{0x5001}));
}

TEST_F(rescue_map_test, joins_parts_that_were_rescued_one_by_one) {
  const auto map = read("0 + 1\n0 0x1000 +\n0x1000 0x1000 +\n");
  ASSERT_THAT(map, succeeds());
  EXPECT_TRUE(map->is_rescued(bytes{0x800}, bytes{0x1800}));
}

TEST_F(rescue_map_test, reads_what_it_writes) {
  rescue_map written;
  written.add(bytes{0x1000}, bytes{0x3000}, true);
  written.add(bytes{0x3000}, bytes{0x4000}, false);
  written.add(bytes{0x4000}, bytes{0x100000000000}, true);
  const auto map = read(written.text());
  ASSERT_THAT(map, succeeds());
  EXPECT_FALSE(map->is_rescued(bytes{0}, bytes{0x1000}));
  EXPECT_TRUE(map->is_rescued(bytes{0x1000}, bytes{0x3000}));
  EXPECT_FALSE(map->is_rescued(bytes{0x3000}, bytes{0x4000}));
  EXPECT_TRUE(map->is_rescued(bytes{0x4000}, bytes{0x100000000000}));
}

TEST_F(rescue_map_test, writes_what_was_not_tried_from_the_beginning) {
  rescue_map written;
  written.add(bytes{0x1000}, bytes{0x3000}, true);
  EXPECT_THAT(written.text(), testing::EndsWith("0x00000000  0x00001000  ?\n"
                                                "0x00001000  0x00002000  +\n"));
}

TEST_F(rescue_map_test, refuses_what_is_no_map_file) {
  for (const char *text :
       {"", "# nothing\n", "0 + 1\n", "0 + 1\n0 0x1000\n", "0 + 1\n0 0x1000 x\n",
        "0 + 1\n0 0x1000 +\n0 0x1000 -\n", "0 + 1\n0 0xffffffffffffffff +\n1 5 +\n",
        "0 + 1\n1 0xffffffffffffffff +\n", "0 + 1\n0 1 + 7\n", "0 + 1\n0 -1 +\n"}) {
    EXPECT_THAT(read(text), fails_with(failure::usage)) << text;
  }
  EXPECT_THAT(read("0 + 1\n" + std::string(100000, '1')), fails_with(failure::usage));
  EXPECT_THAT(read_rescue_map("/nonexistent/map"), fails_with(failure::environment));
}

} // namespace
} // namespace dmcache
