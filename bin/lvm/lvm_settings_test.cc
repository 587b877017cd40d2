#include "bin/lvm/lvm_settings.h"

#include <gmock/gmock.h>

#include "base/testing/matchers.h"

namespace dmcache {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::Field;
using testing::HasSubstr;
using testing::IsEmpty;

auto sets(const char *path, const char *value, std::size_t line) {
  return AllOf(Field(&lvm_setting::path, path), Field(&lvm_setting::value, value),
               Field(&lvm_setting::line, line));
}

TEST(lvm_settings, stand_in_sections_or_have_a_path) {
  const auto read = read_lvm_settings("global {\n units = \"h\"\n suffix=1 }\n"
                                      "devices/dir = \"/dev\"\nglobal { inner { a = 2.5 } }\n");
  ASSERT_THAT(read, succeeds());
  EXPECT_THAT(*read, ElementsAre(sets("global/units", "h", 2), sets("global/suffix", "1", 3),
                                 sets("devices/dir", "/dev", 4), sets("global/inner/a", "2.5", 5)));
}

TEST(lvm_settings, what_is_in_comments_and_strings_is_none) {
  const auto read = read_lvm_settings("# a = 1\nb = \"# { c = 1 \\\" }\" # d = 1\n#{");
  ASSERT_THAT(read, succeeds());
  EXPECT_THAT(*read, ElementsAre(sets("b", "# { c = 1 \" }", 2)));
}

TEST(lvm_settings, can_be_arrays) {
  const auto read = read_lvm_settings("options = [ \"-q\",\n'--x', 3 ]\nnone = []\nlast = 1");
  ASSERT_THAT(read, succeeds());
  EXPECT_THAT(*read, ElementsAre(sets("options", "-q --x 3", 1), sets("none", "", 3),
                                 sets("last", "1", 4)));
}

TEST(lvm_settings, of_an_empty_file_are_none) {
  const auto read = read_lvm_settings("");
  ASSERT_THAT(read, succeeds());
  EXPECT_THAT(*read, IsEmpty());
}

TEST(lvm_settings, of_something_else_are_refused_with_the_line) {
  EXPECT_THAT(read_lvm_settings("a {\nb = 1\n"),
              fails_with(failure::failed, HasSubstr("line 3: section a has no end")));
  EXPECT_THAT(read_lvm_settings("\n}"),
              fails_with(failure::failed, HasSubstr("line 2: '}' is not expected")));
  EXPECT_THAT(read_lvm_settings("a = \"b"),
              fails_with(failure::failed, HasSubstr("line 1: a string has no end")));
  EXPECT_THAT(read_lvm_settings("a b"),
              fails_with(failure::failed, HasSubstr("a is neither a section nor a setting")));
  EXPECT_THAT(read_lvm_settings("a = }"),
              fails_with(failure::failed, HasSubstr("a value is expected")));
  EXPECT_THAT(read_lvm_settings("a = [ 1, { ]"),
              fails_with(failure::failed, HasSubstr("a value is expected")));
}

} // namespace
} // namespace dmcache
