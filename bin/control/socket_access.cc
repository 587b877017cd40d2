#include "bin/control/socket_access.h"

#include <fcntl.h>
#include <grp.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <limits>
#include <system_error>
#include <vector>

#include <fmt/format.h>

#include "base/file_descriptor.h"
#include "base/whole_number.h"

namespace dmcache {
namespace {

std::unexpected<error> cannot_give(const std::string &path) {
  return fail(failure::environment,
              fmt::format("cannot set group and mode of {}: {}", path,
                          std::error_code{errno, std::generic_category()}.message()));
}

} // namespace

result<mode_t> parse_socket_mode(const std::string &option, const std::string &text) {
  constexpr mode_t owner = S_IRUSR | S_IWUSR;
  constexpr mode_t all = S_IRWXU | S_IRWXG | S_IRWXO;
  constexpr int octal = 8;
  mode_t mode = 0;
  const char *const end = text.data() + text.size();
  const auto [rest, failed] = std::from_chars(text.data(), end, mode, octal);
  if (failed != std::errc{} || rest != end || (mode & ~all) != 0 || (mode & owner) != owner) {
    return fail(failure::usage, fmt::format("{} is an octal mode that lets the owner read and "
                                            "write, like 660, not '{}'",
                                            option, text));
  }
  return mode;
}

result<gid_t> find_group(const std::string &name) {
  if (const group *const found = ::getgrnam(name.c_str())) { // NOLINT(concurrency-mt-unsafe)
    return found->gr_gid;
  }
  // The highest number means that a file keeps its group.
  const auto number = whole_number<gid_t>(name);
  if (!number || *number == std::numeric_limits<gid_t>::max()) {
    return fail(failure::environment, fmt::format("there is no group '{}'", name));
  }
  return *number;
}

result<> check_that_it_can_be_given_to(gid_t group) {
  std::vector<gid_t> own(static_cast<std::size_t>(std::max(::getgroups(0, nullptr), 0)));
  own.resize(
      static_cast<std::size_t>(std::max(::getgroups(static_cast<int>(own.size()), own.data()), 0)));
  if (::geteuid() == 0 || ::getegid() == group || std::ranges::count(own, group) != 0) {
    return {};
  }
  return fail(failure::environment,
              fmt::format("only root and its members can give a socket to group {}", group));
}

result<> give_access(const std::string &path, const socket_access &access) {
  const file_descriptor file{::open(path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC)};
  struct stat found{};
  if (!file.is_open() || ::fstat(file.get(), &found) != 0) {
    return cannot_give(path);
  }
  if (!S_ISSOCK(found.st_mode) || found.st_uid != ::geteuid()) {
    return fail(
        failure::environment,
        fmt::format("{} was replaced: choose a folder in which nobody else can do that", path));
  }
  constexpr auto as_it_is = static_cast<uid_t>(-1);
  if (access.group && ::fchownat(file.get(), "", as_it_is, *access.group, AT_EMPTY_PATH) != 0) {
    return cannot_give(path);
  }
  // fchmod() refuses a descriptor that is only a path's.
  if (::chmod(fmt::format("/proc/self/fd/{}", file.get()).c_str(), access.mode) != 0) {
    return cannot_give(path);
  }
  return {};
}

} // namespace dmcache
