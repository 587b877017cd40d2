// Makes LVM call dmcache's commands, at boot too, and no longer. That takes settings in lvmlocal.conf,
// which stand in a part of the file that is marked as dmcache's, and links by which initramfs-tools and
// dracut find what takes dmcache into the initial file system. Whatever else is in the file stays.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"

namespace dmcache {

// A system, and the paths that count in it.
struct lvm_system {
  std::filesystem::path root;          // the folder that it is in: "/" if it is the one that runs
  std::filesystem::path programs;      // dmcache's folder, "/usr/local/sbin"
  std::filesystem::path configuration; // LVM's folder, "/etc/lvm"
};

// Both return what they changed, a line for each change: nothing if all was so already. They fail with
// failure::failed, and change nothing, if that would undo what somebody else has set up, or would leave
// a machine that doesn't boot; and with failure::environment if a file can't be read or written.
result<std::vector<std::string>> connect_lvm(const lvm_system &system);
result<std::vector<std::string>> disconnect_lvm(const lvm_system &system);

} // namespace dmcache
