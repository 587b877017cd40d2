// Loop devices, by which a file can be in use though nobody has locked it.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "base/file_identity.h"

namespace dmcache {

// What the loop device is on: as the kernel tells it, if `node` is the node of that device; else what
// is found at `path`, which it had when it was attached. None if that isn't there.
std::optional<file_identity> identity_beneath(const std::string &node, dev_t device,
                                              const std::string &path);

// The nodes of all loop devices that are attached. None if that can't be found out, for want of /sys.
std::vector<std::string> attached_loop_devices();

// Does somebody use the block device exclusively, as who mounts it or stacks something on it does? Not if
// that can't be found out, for want of permission.
bool is_used_exclusively(const std::string &node);

// The file that the block device is a loop device on, or a partition of one, as its path was when it was
// attached; none if it isn't one.
std::optional<std::string> file_of_loop_device(dev_t device);

} // namespace dmcache
