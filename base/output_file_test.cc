#include "base/output_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string_view>

#include <gtest/gtest.h>

#include "base/testing/matchers.h"

namespace dmcache {
namespace {

namespace fs = std::filesystem;

class output_file_test : public testing::Test {
 protected:
  output_file_test() {
    folder_ = fs::temp_directory_path() / ("output_file_test." + std::to_string(::getpid()));
    fs::create_directory(folder_);
  }
  ~output_file_test() override { fs::remove_all(folder_); }

  std::string target() const { return folder_ / "target"; }

  static std::string read(const std::string &path) {
    std::ostringstream text;
    text << std::ifstream{path}.rdbuf();
    return text.str();
  }

  std::size_t files() const {
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator{folder_}, fs::directory_iterator{}));
  }

  static void write(output_file &file, std::string_view text) {
    std::ranges::copy(text, file.buffer().begin());
    ASSERT_THAT(file.take(text.size()), succeeds());
  }

  fs::path folder_;
};

TEST_F(output_file_test, is_not_there_before_commit) {
  auto file = output_file::create(target());
  ASSERT_THAT(file, succeeds());
  write(*file, "text");
  EXPECT_FALSE(fs::exists(target()));
  ASSERT_THAT(file->commit(), succeeds());
  EXPECT_EQ(read(target()), "text");
  EXPECT_EQ(files(), 1U);
}

TEST_F(output_file_test, writes_what_it_takes_in_order) {
  auto file = output_file::create(target());
  ASSERT_THAT(file, succeeds());
  std::string expected;
  for (const char letter : {'a', 'b', 'c', 'd'}) {
    const std::string part(letter == 'd' ? 5 : io_alignment, letter);
    write(*file, part);
    expected += part;
  }
  write(*file, std::string(io_alignment, 'e')); // no longer past the page cache
  expected += std::string(io_alignment, 'e');
  ASSERT_THAT(file->commit(), succeeds());
  EXPECT_EQ(read(target()), expected);
}

TEST_F(output_file_test, leaves_the_old_file_when_abandoned) {
  std::ofstream{target()} << "old";
  {
    auto file = output_file::create(target());
    ASSERT_THAT(file, succeeds());
    write(*file, "new");
  }
  EXPECT_EQ(read(target()), "old");
  EXPECT_EQ(files(), 1U);
}

TEST_F(output_file_test, keeps_the_permissions_of_the_file_it_replaces) {
  std::ofstream{target()} << "old";
  fs::permissions(target(), fs::perms{0640});
  auto file = output_file::create(target());
  ASSERT_THAT(file, succeeds());
  ASSERT_THAT(file->commit(), succeeds());
  EXPECT_EQ(fs::status(target()).permissions(), fs::perms{0640});
}

TEST_F(output_file_test, names_the_path_that_cannot_be_created) {
  const auto file = output_file::create(folder_ / "missing" / "target");
  EXPECT_THAT(file,
              fails_with(failure::environment, testing::HasSubstr("missing/target: No such file")));
}

} // namespace
} // namespace dmcache
