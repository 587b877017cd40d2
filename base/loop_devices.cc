#include "base/loop_devices.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <system_error>

#include <fmt/format.h>

#include "base/file_descriptor.h"

namespace dmcache {
namespace {

namespace fs = std::filesystem;

// A file of one line; empty if it can't be read.
std::string line_of(const std::string &path) {
  std::string line;
  std::getline(std::ifstream{path}, line);
  return line;
}

bool is_on(const std::string &node, const std::string &backing_file, const struct stat &file) {
  struct stat device{};
  if (::stat(node.c_str(), &device) == 0) {
    if (const auto told = ask_loop_device(node, device.st_rdev)) {
      return S_ISBLK(file.st_mode) ? told->lo_rdevice == file.st_rdev
                                   : told->lo_rdevice == 0 && told->lo_device == file.st_dev &&
                                         told->lo_inode == file.st_ino;
    }
  }
  struct stat named{};
  return ::stat(backing_file.c_str(), &named) == 0 &&
         (S_ISBLK(file.st_mode) ? S_ISBLK(named.st_mode) && named.st_rdev == file.st_rdev
                                : named.st_dev == file.st_dev && named.st_ino == file.st_ino);
}

} // namespace

// A path says less than this: the file may have lost its name, or have it elsewhere.
std::optional<loop_info64> ask_loop_device(const std::string &node, dev_t device) {
  const file_descriptor opened{::open(node.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)};
  struct stat status{};
  loop_info64 told{};
  const bool is_told = opened.is_open() && ::fstat(opened.get(), &status) == 0 &&
                       S_ISBLK(status.st_mode) && status.st_rdev == device &&
                       ::ioctl(opened.get(), LOOP_GET_STATUS64, &told) == 0;
  return is_told ? std::optional{told} : std::nullopt;
}

std::string loop_device_in_use_on(const struct stat &file) {
  std::error_code error;
  for (const auto &each : fs::directory_iterator{"/sys/block", error}) {
    const std::string backing_file = line_of(each.path().string() + "/loop/backing_file");
    const std::string node = "/dev/" + each.path().filename().string();
    if (backing_file.empty() || !is_on(node, backing_file, file)) {
      continue;
    }
    const file_descriptor opened{::open(node.c_str(), O_RDONLY | O_EXCL | O_NONBLOCK | O_CLOEXEC)};
    if (!opened.is_open() && errno == EBUSY) {
      return node;
    }
  }
  return {};
}

std::optional<std::string> file_of_loop_device(dev_t device) {
  const std::string path = line_of(fmt::format("/sys/dev/block/{}:{}/loop/backing_file",
                                               gnu_dev_major(device), gnu_dev_minor(device)));
  return path.empty() ? std::nullopt : std::optional{path};
}

} // namespace dmcache
