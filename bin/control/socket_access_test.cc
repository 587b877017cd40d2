#include "bin/control/socket_access.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>

#include "base/testing/matchers.h"
#include "bin/control/unix_socket.h"

namespace dmcache {
namespace {

using testing::HasSubstr;
using testing::Optional;

class socket_access_test : public testing::Test {
 protected:
  socket_access_test() {
    std::string made = testing::TempDir() + "accessXXXXXX";
    folder_ = ::mkdtemp(made.data());
  }
  ~socket_access_test() override { std::filesystem::remove_all(folder_); }

  std::string path(const std::string &name = "s") const { return folder_ / name; }

  static struct stat found_at(const std::string &file) {
    struct stat found{};
    EXPECT_EQ(::lstat(file.c_str(), &found), 0);
    return found;
  }

  std::filesystem::path folder_;
};

TEST(socket_mode, is_octal_and_lets_the_owner_in) {
  EXPECT_EQ(parse_socket_mode("--mode", "660").value_or(0), 0660U);
  EXPECT_EQ(parse_socket_mode("--mode", "0777").value_or(0), 0777U);
  for (const char *wrong : {"", "680", "066", "460", "1660", "-660", "660 ", "rw", "4294967296"}) {
    EXPECT_THAT(
        parse_socket_mode("--mode", wrong),
        fails_with(failure::usage, std::string{"--mode is an octal mode that lets the owner "
                                               "read and write, like 660, not '"} +
                                       wrong + "'"));
  }
}

TEST(socket_group, has_a_name_or_a_number) {
  EXPECT_EQ(find_group("root").value_or(1), 0U);
  EXPECT_EQ(find_group("123456").value_or(0), 123456U);
  for (const char *wrong : {"", "no-such-group", "4294967295", "-1"}) {
    EXPECT_THAT(find_group(wrong),
                fails_with(failure::environment, std::string{"there is no group '"} + wrong + "'"));
  }
}

TEST_F(socket_access_test, is_given_to_a_socket_that_listens) {
  const auto before = ::umask(077);
  const auto made = listening_socket::at(path(), {.mode = 0666, .group = ::getegid()});
  ::umask(before);
  ASSERT_THAT(made, succeeds());
  EXPECT_EQ(found_at(path()).st_mode & 07777, 0666U);
  EXPECT_EQ(found_at(path()).st_gid, ::getegid());
}

TEST_F(socket_access_test, is_given_to_nothing_but_a_socket) {
  std::ofstream{path("file")} << "secret";
  std::filesystem::permissions(path("file"), std::filesystem::perms::owner_read);
  std::filesystem::create_symlink(path("file"), path("link"));
  for (const char *name : {"file", "link"}) {
    EXPECT_THAT(give_access(path(name), {.mode = 0666}),
                fails_with(failure::environment, HasSubstr("was replaced")));
  }
  EXPECT_EQ(found_at(path("file")).st_mode & 07777, 0400U);
  EXPECT_THAT(give_access(path("none"), {}),
              fails_with(failure::environment, "cannot set group and mode of " + path("none") +
                                                   ": No such file or directory"));
}

TEST_F(socket_access_test, costs_a_socket_that_cannot_have_it) {
  if (::geteuid() == 0) {
    GTEST_SKIP() << "root can give files to any group";
  }
  constexpr gid_t of_others = 123456;
  EXPECT_THAT(check_that_it_can_be_given_to(of_others),
              fails_with(failure::environment,
                         "only root and its members can give a socket to group 123456"));
  EXPECT_THAT(listening_socket::at(path(), {.mode = 0660, .group = of_others}),
              fails_with(failure::environment, HasSubstr("Operation not permitted")));
  EXPECT_FALSE(std::filesystem::exists(path()));
}

TEST(socket_group, of_a_member_can_have_files) {
  EXPECT_THAT(check_that_it_can_be_given_to(::getegid()), succeeds());
}

} // namespace
} // namespace dmcache
