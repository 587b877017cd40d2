#include "base/loop_devices.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
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

} // namespace

std::optional<file_identity> identity_beneath(const std::string &node, dev_t device,
                                              const std::string &path) {
  const auto told = ask_loop_device(node, device);
  if (!told) {
    return identity_of(path);
  }
  return told->lo_rdevice != 0 ? file_identity{true, told->lo_rdevice, 0}
                               : file_identity{false, told->lo_device, told->lo_inode};
}

std::vector<std::string> attached_loop_devices() {
  std::vector<std::string> nodes;
  std::error_code error;
  for (const auto &each : fs::directory_iterator{"/sys/block", error}) {
    const std::string name = each.path().filename().string();
    if (name.starts_with("loop") && !line_of(each.path().string() + "/loop/backing_file").empty()) {
      nodes.push_back("/dev/" + name);
    }
  }
  return nodes;
}

bool is_used_exclusively(const std::string &node) {
  const file_descriptor opened{::open(node.c_str(), O_RDONLY | O_EXCL | O_NONBLOCK | O_CLOEXEC)};
  return !opened.is_open() && errno == EBUSY;
}

// The folder of a partition is one within the disk's.
std::optional<std::string> file_of_loop_device(dev_t device) {
  const std::string folder =
      fmt::format("/sys/dev/block/{}:{}", gnu_dev_major(device), gnu_dev_minor(device));
  for (const char *const loop : {"/loop", "/../loop"}) {
    if (std::string path = line_of(folder + loop + "/backing_file"); !path.empty()) {
      return path;
    }
  }
  return {};
}

} // namespace dmcache
