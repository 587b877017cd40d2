#include "base/pending_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include <gtest/gtest.h>

#include "base/testing/matchers.h"

namespace dmcache {
namespace {

namespace fs = std::filesystem;

class pending_file_test : public testing::Test {
 protected:
  pending_file_test()
      : folder_{fs::temp_directory_path() / ("pending_file_test." + std::to_string(::getpid()))} {
    fs::create_directory(folder_);
  }
  ~pending_file_test() override { fs::remove_all(folder_); }

  std::string target() const { return folder_ / "target"; }

  fs::path folder_;
};

TEST_F(pending_file_test, has_its_name_after_commit) {
  {
    auto file = pending_file::create(target());
    ASSERT_THAT(file, succeeds());
    EXPECT_FALSE(fs::exists(target()));
    ASSERT_THAT(file->commit(), succeeds());
  }
  EXPECT_TRUE(fs::exists(target()));
}

TEST_F(pending_file_test, is_gone_without_commit) {
  {
    auto file = pending_file::create(target());
    ASSERT_THAT(file, succeeds());
    const pending_file moved{std::move(*file)};
  }
  EXPECT_TRUE(fs::is_empty(folder_));
}

TEST_F(pending_file_test, nothing_is_left_of_it_when_the_process_is_killed) {
  if (!file_descriptor{::open(folder_.c_str(), O_TMPFILE | O_WRONLY, 0600)}.is_open()) {
    GTEST_SKIP() << "a file system that has no files without names";
  }
  const pid_t killed = ::fork();
  if (killed == 0) {
    const auto file = pending_file::create(target());
    ::raise(file ? SIGKILL : SIGABRT);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(killed, &status, 0), killed);
  EXPECT_EQ(WTERMSIG(status), SIGKILL);
  EXPECT_TRUE(fs::is_empty(folder_));
}

TEST_F(pending_file_test, replaces_what_has_its_name_and_leaves_nothing_else) {
  std::ofstream{target()} << "old";
  auto file = pending_file::create(target());
  ASSERT_THAT(file, succeeds());
  ASSERT_THAT(write_all(file->descriptor(), "new", std::as_bytes(std::span{"new", 3})), succeeds());
  EXPECT_EQ(fs::file_size(target()), 3U);
  ASSERT_THAT(file->commit(), succeeds());
  std::string text;
  std::ifstream{target()} >> text;
  EXPECT_EQ(text, "new");
  EXPECT_EQ(std::distance(fs::directory_iterator{folder_}, fs::directory_iterator{}), 1);
}

TEST_F(pending_file_test, a_nameless_file_is_in_no_folder_and_keeps_what_is_copied) {
  const std::string text(1000000, 'x');
  std::ofstream{target()} << text;
  const auto file = make_nameless_file();
  ASSERT_THAT(file, succeeds());
  struct stat status{};
  ASSERT_EQ(::fstat(file->get(), &status), 0);
  EXPECT_EQ(status.st_nlink, 0U);
  const file_descriptor from{::open(target().c_str(), O_RDONLY)};
  EXPECT_THAT(copy_file(from.get(), "here", file->get(), "there"), succeeds());
  ASSERT_EQ(::fstat(file->get(), &status), 0);
  EXPECT_EQ(static_cast<std::size_t>(status.st_size), text.size());
}

TEST_F(pending_file_test, a_copy_to_nobody_fails_without_a_text) {
  std::ofstream{target()} << "text";
  std::array<int, 2> pipe{};
  ASSERT_EQ(::pipe(pipe.data()), 0);
  ::close(pipe[0]);
  const file_descriptor from{::open(target().c_str(), O_RDONLY)};
  const auto handler = std::signal(SIGPIPE, SIG_IGN);
  EXPECT_THAT(copy_file(from.get(), "here", pipe[1], "there"),
              fails_with(failure::environment, ""));
  std::signal(SIGPIPE, handler);
  ::close(pipe[1]);
}

} // namespace
} // namespace dmcache
