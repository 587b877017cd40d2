#include "base/file_users.h"

#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <optional>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "base/file_identity.h"
#include "base/whole_number.h"

namespace dmcache {
namespace {

// The names in the folder that are numbers; none if it can't be read.
std::vector<unsigned> numbers_in(const std::string &folder) {
  std::vector<unsigned> found;
  if (DIR *const opened = ::opendir(folder.c_str())) {
    while (const dirent *each =
               ::readdir(opened)) { // NOLINT(concurrency-mt-unsafe): its own folder
      if (const auto number = whole_number<unsigned>(each->d_name)) {
        found.push_back(*number);
      }
    }
    ::closedir(opened);
  }
  std::ranges::sort(found);
  return found;
}

std::string contents_of(const std::string &path) {
  std::ifstream file{path};
  return {std::istreambuf_iterator{file}, {}};
}

// By flock(), or by the locks of QEMU's programs (image_locks.h).
bool holds_lock(std::string_view file_information) {
  return file_information.contains("FLOCK") || file_information.contains("OFDLCK");
}

// Does the process keep others from `wanted`?
bool uses(const std::string &process, const file_identity &wanted) {
  return std::ranges::any_of(numbers_in(process + "/fd"), [&](unsigned each) {
    return identity_of(fmt::format("{}/fd/{}", process, each)) == wanted &&
           (wanted.is_block_device ||
            holds_lock(contents_of(fmt::format("{}/fdinfo/{}", process, each))));
  });
}

// Which the plugin of a cache's server has among its arguments.
std::optional<std::string> control_socket_of(const std::string &process) {
  constexpr std::string_view key{"\0control=", 9};
  const std::string arguments = contents_of(process + "/cmdline");
  const std::size_t found = arguments.find(key);
  return found == std::string::npos ? std::nullopt
                                    : std::optional{std::string{&arguments[found + key.size()]}};
}

} // namespace

// A server and the process that watches it both have the file: the one that was there first is named.
std::string user_of(const std::string &path) {
  const auto wanted = identity_of(path);
  std::string named;
  if (!wanted) {
    return named;
  }
  for (const unsigned each : numbers_in("/proc")) {
    const std::string process = fmt::format("/proc/{}", each);
    if (static_cast<pid_t>(each) == ::getpid() || !uses(process, *wanted)) {
      continue;
    }
    if (named.empty()) {
      std::string command = contents_of(process + "/comm");
      std::erase(command, '\n');
      named = fmt::format("{}, pid {}", command, each);
    }
    if (const auto control = control_socket_of(process)) {
      return fmt::format("{}: cache_ctl --control {} stop ends it", named, *control);
    }
  }
  return named;
}

} // namespace dmcache
