#include "base/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "base/device.h"

namespace dmcache {
namespace {

std::unexpected<error> cannot(const char *what, const std::string &path, int reason) {
  return fail(failure::environment,
              fmt::format("cannot {} {}: {}", what, path, std::generic_category().message(reason)));
}

// What a new file's permissions would be, or those of the file that is to be replaced.
mode_t permissions_for(const std::string &path) {
  struct stat existing {};
  if (::stat(path.c_str(), &existing) == 0) {
    return existing.st_mode & 07777;
  }
  const mode_t mask = ::umask(0);
  ::umask(mask);
  return 0666 & ~mask;
}

} // namespace

output_file output_file::standard_output() {
  return output_file{file_descriptor{::dup(STDOUT_FILENO)}, "standard output", ""};
}

result<output_file> output_file::create(const std::string &path) {
  struct stat existing {};
  if (::stat(path.c_str(), &existing) == 0 && !S_ISREG(existing.st_mode)) {
    file_descriptor file{::open(path.c_str(), O_WRONLY | O_CLOEXEC)};
    if (!file.is_open()) {
      return cannot("write to", path, errno);
    }
    return output_file{std::move(file), path, ""};
  }
  // Through a symbolic link, the file it names is the one to replace.
  std::string target = path;
  if (char *resolved = ::realpath(path.c_str(), nullptr)) {
    target = resolved;
    std::free(resolved); // NOLINT(*-no-malloc): realpath's own rule
  }
  std::string temporary = target + ".XXXXXX";
  file_descriptor file{::mkostemp(temporary.data(), O_CLOEXEC)};
  if (!file.is_open()) {
    return cannot("create", path, errno);
  }
  output_file output{std::move(file), target, temporary};
  output.write_directly(true);
  if (::fchmod(output.file_.get(), permissions_for(target)) != 0) {
    return cannot("create", path, errno);
  }
  return output;
}

output_file::output_file(file_descriptor file, std::string name, std::string temporary)
    : file_{std::move(file)}, name_{std::move(name)}, temporary_{std::move(temporary)} {}

output_file::output_file(output_file &&other) noexcept
    : file_{std::move(other.file_)}, name_{std::move(other.name_)},
      temporary_{std::move(other.temporary_)}, direct_{other.direct_} {
  other.temporary_.clear(); // nothing is left there to remove
}

output_file::~output_file() {
  if (!temporary_.empty()) {
    ::unlink(temporary_.c_str());
  }
}

void output_file::write_directly(bool wanted) {
  const int flags = ::fcntl(file_.get(), F_GETFL);
  const int changed = wanted ? flags | O_DIRECT : flags & ~O_DIRECT;
  direct_ = ::fcntl(file_.get(), F_SETFL, changed) == 0 && wanted;
}

result<> output_file::write(std::span<const char> data) {
  const bool is_aligned =
      data.size() % io_alignment == 0 &&
      reinterpret_cast<std::uintptr_t>(data.data()) % io_alignment == 0; // NOLINT
  if (direct_ && !is_aligned) {
    write_directly(false);
  }
  while (!data.empty()) {
    const ssize_t written = ::write(file_.get(), data.data(), data.size());
    if (written >= 0) {
      data = data.subspan(static_cast<std::size_t>(written));
    } else if (errno == EINVAL && direct_) { // the file system wants more than we know of
      write_directly(false);
    } else if (errno == EPIPE) {
      return fail(failure::failed, "");
    } else if (errno != EINTR) {
      return cannot("write to", name_, errno);
    }
  }
  return {};
}

result<> output_file::commit() {
  if (temporary_.empty()) {
    return {};
  }
  if (::rename(temporary_.c_str(), name_.c_str()) != 0) {
    return cannot("create", name_, errno);
  }
  temporary_.clear();
  return {};
}

} // namespace dmcache
