#include "base/pending_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <vector>

#include <fmt/format.h>

#include "base/file_error.h"

namespace dmcache {
namespace {

constexpr const char *temporary_ending = ".XXXXXX"; // as mkstemp() takes it

// The permissions of the file that is to be replaced, or, if there is none, those of a new one.
mode_t permissions_for(const std::string &path) {
  struct stat existing{};
  if (::stat(path.c_str(), &existing) == 0) {
    return existing.st_mode & 07777;
  }
  const mode_t mask = ::umask(0);
  ::umask(mask);
  return 0666 & ~mask;
}

std::string name_by_number(const file_descriptor &file) {
  return fmt::format("/proc/self/fd/{}", file.get());
}

std::string folder_of(const std::string &path) {
  const auto parent = std::filesystem::path{path}.parent_path();
  return parent.empty() ? "." : parent.string();
}

// A file in the folder of `path` that has no name yet, so that it goes if its maker is killed. Not
// open where there are no such files, or nothing by which it could be named later.
file_descriptor make_unnamed_beside(const std::string &path, mode_t permissions) {
  file_descriptor file{
      ::open(folder_of(path).c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, permissions)};
  const bool can_be_named = file.is_open() && ::access(name_by_number(file).c_str(), F_OK) == 0;
  return can_be_named ? std::move(file) : file_descriptor{};
}

// Names the file, which has no name, as `pattern` says, whose last characters are to be replaced.
// Returns that name, or nothing, with the reason in errno.
std::optional<std::string> name_file(const file_descriptor &file, const std::string &pattern) {
  constexpr int attempts = 100;
  for (int attempt = 0; attempt < attempts; ++attempt) {
    std::string name = pattern;
    // There is no call that chooses a name for an unnamed file: one that is free is found out by
    // making another file, and giving it up.
    const file_descriptor placeholder{::mkostemp(name.data(), O_CLOEXEC)};
    if (!placeholder.is_open() || ::unlink(name.c_str()) != 0) {
      return {};
    }
    if (::linkat(AT_FDCWD, name_by_number(file).c_str(), AT_FDCWD, name.c_str(),
                 AT_SYMLINK_FOLLOW) == 0) {
      return name;
    }
    if (errno != EEXIST) {
      return {};
    }
  }
  return {};
}

// Makes durable which names there are in the folder of this file.
bool sync_folder_of(const std::string &path) {
  const file_descriptor folder{::open(folder_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  // Some file systems have nothing to do for a folder, and say so.
  return folder.is_open() && (::fsync(folder.get()) == 0 || errno == EINVAL);
}

} // namespace

result<> write_all(int to, const std::string &name, std::span<const std::byte> data) {
  while (!data.empty()) {
    const ssize_t written = ::write(to, data.data(), data.size());
    if (written >= 0) {
      data = data.subspan(static_cast<std::size_t>(written));
    } else if (errno == EPIPE) {
      return fail(failure::environment, "");
    } else if (errno != EINTR) {
      return cannot("write to", name, errno);
    }
  }
  return {};
}

result<pending_file> pending_file::create(const std::string &path) {
  std::string target = path;
  if (char *resolved = ::realpath(path.c_str(), nullptr)) {
    target = resolved;
    std::free(resolved); // NOLINT(*-no-malloc): realpath's own rule
  }
  std::string temporary = target + temporary_ending;
  file_descriptor file = make_unnamed_beside(target, S_IRUSR | S_IWUSR);
  const bool is_named = !file.is_open();
  if (is_named) {
    file = file_descriptor{::mkostemp(temporary.data(), O_CLOEXEC)};
  }
  if (!file.is_open()) {
    return cannot("create", path, errno);
  }
  pending_file made{std::move(file), target};
  made.is_to_be_named_ = !is_named;
  made.temporary_ = is_named ? temporary : "";
  if (::fchmod(made.descriptor(), permissions_for(target)) != 0) {
    return cannot("create", path, errno);
  }
  return made;
}

pending_file::~pending_file() {
  if (!temporary_.empty()) {
    ::unlink(temporary_.c_str());
  }
}

result<> pending_file::commit() {
  if (temporary_.empty() && !is_to_be_named_) {
    return {};
  }
  if (::fdatasync(file_.get()) != 0) {
    return cannot("write to", name_, errno);
  }
  if (is_to_be_named_) {
    const auto named = name_file(file_, name_ + temporary_ending);
    if (!named) {
      return cannot("create", name_, errno);
    }
    temporary_ = *named;
    is_to_be_named_ = false;
  }
  if (::rename(temporary_.c_str(), name_.c_str()) != 0) {
    return cannot("create", name_, errno);
  }
  temporary_.clear();
  return sync_folder_of(name_) ? result<>{} : cannot("make durable the name of", name_, errno);
}

result<file_descriptor> make_nameless_file() {
  std::error_code none;
  const auto found = std::filesystem::temp_directory_path(none);
  const std::string folder = none ? "/tmp" : found.string();
  file_descriptor file{::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)};
  if (!file.is_open()) { // a file system without such files
    std::string name = folder + "/dmcache.XXXXXX";
    file = file_descriptor{::mkostemp(name.data(), O_CLOEXEC)};
    if (!file.is_open()) {
      return cannot("make a temporary file in", folder, errno);
    }
    ::unlink(name.c_str());
  }
  return file;
}

result<> copy_file(int from, const std::string &from_name, int to, const std::string &name) {
  constexpr std::size_t buffer_size = std::size_t{1} << 18;
  std::vector<std::byte> buffer(buffer_size);
  while (true) {
    const ssize_t count = ::read(from, buffer.data(), buffer.size());
    if (count == 0) {
      return {};
    }
    if (count < 0 && errno != EINTR) {
      return cannot("read", from_name, errno);
    }
    if (count > 0) {
      const auto data = std::span{buffer}.first(static_cast<std::size_t>(count));
      if (auto written = write_all(to, name, data); !written) {
        return written;
      }
    }
  }
}

} // namespace dmcache
