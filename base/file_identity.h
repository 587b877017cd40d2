// Which file or block device it is that a path, a descriptor or a node leads to. All nodes of a block
// device lead to the same one.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <optional>
#include <string>

namespace dmcache {

struct file_identity {
  bool is_block_device;
  dev_t device; // which it is, or which the file is on
  ino_t file;   // 0 of a block device

  bool operator==(const file_identity &) const = default;
};

inline file_identity identity_of(const struct stat &status) {
  return S_ISBLK(status.st_mode) ? file_identity{true, status.st_rdev, 0}
                                 : file_identity{false, status.st_dev, status.st_ino};
}

// None if nothing is there.
inline std::optional<file_identity> identity_of(const std::string &path) {
  struct stat status{};
  return ::stat(path.c_str(), &status) == 0 ? std::optional{identity_of(status)} : std::nullopt;
}

} // namespace dmcache
