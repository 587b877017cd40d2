#include "bin/control/unix_socket.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <thread>
#include <vector>

#include <gmock/gmock.h>

#include "base/testing/matchers.h"

namespace dmcache {
namespace {

using testing::HasSubstr;

class unix_socket_test : public testing::Test {
 protected:
  unix_socket_test() {
    std::string made = testing::TempDir() + "socketXXXXXX";
    folder_ = ::mkdtemp(made.data());
  }
  ~unix_socket_test() override { std::filesystem::remove_all(folder_); }

  std::string path(const std::string &name = "s") const { return folder_ / name; }

  // What a server that is killed leaves behind.
  void leave_dead_socket() const {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strcpy(address.sun_path, path().c_str());
    const file_descriptor made{::socket(AF_UNIX, SOCK_STREAM, 0)};
    ASSERT_EQ(::bind(made.get(), reinterpret_cast<const sockaddr *>(&address), sizeof address), 0);
  }

  static unsigned mode_of(const std::string &file) {
    struct stat found{};
    EXPECT_EQ(::lstat(file.c_str(), &found), 0);
    return found.st_mode & 07777;
  }

  std::filesystem::path folder_;
};

TEST_F(unix_socket_test, is_its_users_alone_whatever_the_umask) {
  for (const mode_t mask : {0U, 022U, 077U}) {
    const mode_t before = ::umask(mask);
    const auto made = listening_socket::at(path());
    ::umask(before);
    ASSERT_THAT(made, succeeds());
    EXPECT_EQ(mode_of(path()), 0600U);
  }
}

TEST_F(unix_socket_test, can_be_connected_to_until_its_owner_goes) {
  {
    const auto made = listening_socket::at(path());
    ASSERT_THAT(made, succeeds());
    EXPECT_THAT(connect_to(path()), succeeds());
  }
  EXPECT_FALSE(std::filesystem::exists(path()));
  EXPECT_THAT(connect_to(path()), fails_with(std::errc::no_such_file_or_directory));
}

TEST_F(unix_socket_test, takes_the_place_of_a_dead_one) {
  leave_dead_socket();
  EXPECT_THAT(connect_to(path()), fails_with(std::errc::connection_refused));
  EXPECT_THAT(listening_socket::at(path()), succeeds());
}

TEST_F(unix_socket_test, refuses_the_place_of_a_living_one) {
  const auto first = listening_socket::at(path());
  EXPECT_THAT(listening_socket::at(path()),
              fails_with(failure::environment, HasSubstr("a server is running there")));
  EXPECT_THAT(connect_to(path()), succeeds());
}

TEST_F(unix_socket_test, refuses_to_replace_a_file) {
  std::ofstream{path()} << "precious";
  EXPECT_THAT(listening_socket::at(path()),
              fails_with(failure::environment, HasSubstr("is no socket")));
  EXPECT_EQ(std::filesystem::file_size(path()), 8U);
}

TEST_F(unix_socket_test, refuses_paths_that_no_socket_can_have) {
  for (const std::string &bad : {std::string{}, path(std::string(120, 'x'))}) {
    EXPECT_THAT(listening_socket::at(bad),
                fails_with(failure::environment, HasSubstr("has 1 to 107 bytes")));
  }
  EXPECT_THAT(listening_socket::at(path("none/s")),
              fails_with(failure::environment, HasSubstr("its folder")));
}

TEST_F(unix_socket_test, leaves_the_socket_of_somebody_else) {
  auto first = listening_socket::at(path());
  ASSERT_THAT(first, succeeds());
  std::filesystem::rename(path(), path("moved"));
  const auto second = listening_socket::at(path());
  ASSERT_THAT(second, succeeds());
  {
    const auto gone = std::move(first);
  }
  EXPECT_TRUE(std::filesystem::exists(path()));
}

TEST_F(unix_socket_test, of_many_that_start_at_a_time_one_wins) {
  leave_dead_socket();
  std::vector<std::optional<result<listening_socket>>> made(8);
  {
    std::vector<std::jthread> threads;
    for (auto &each : made) {
      threads.emplace_back([&] { each.emplace(listening_socket::at(path())); });
    }
  }
  EXPECT_EQ(std::ranges::count_if(made, [](const auto &each) { return each->has_value(); }), 1);
  EXPECT_THAT(connect_to(path()), succeeds());
}

// As anybody may who can read it.
TEST_F(unix_socket_test, a_folder_that_is_locked_is_nobodys_concern) {
  const file_descriptor folder{::open(folder_.c_str(), O_RDONLY | O_DIRECTORY)};
  ASSERT_EQ(::flock(folder.get(), LOCK_EX | LOCK_NB), 0);
  EXPECT_THAT(listening_socket::at(path()), succeeds());
}

TEST_F(unix_socket_test, leaves_nothing_behind) {
  {
    const auto made = listening_socket::at(path());
    ASSERT_THAT(made, succeeds());
    EXPECT_THAT(remove_dead_socket(path()), fails());
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

TEST_F(unix_socket_test, a_file_is_removed_unless_it_is_another_one) {
  leave_dead_socket();
  const socket_file before{path()};
  ASSERT_THAT(remove_dead_socket(path()), succeeds());
  leave_dead_socket(); // most likely with the same inode
  before.remove();
  EXPECT_TRUE(std::filesystem::exists(path()));
  socket_file{path()}.remove();
  EXPECT_FALSE(std::filesystem::exists(path()));
  socket_file{}.remove();
}

} // namespace
} // namespace dmcache
