// Loop devices, by which a file can be in use though nobody has locked it.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "base/file_identity.h"

namespace dmcache {

// What the loop device is on: as the kernel tells it, if `node` is the node of that device; else what
// is found at `path`, which it had when it was attached. None if that isn't there.
std::optional<file_identity> identity_beneath(const std::string &node, dev_t device,
                                              const std::string &path);

// Does somebody use a loop device on this exclusively, as who mounts it or stacks something on it does?
// Not if that can't be found out, for want of /sys or of permission.
bool is_loop_device_in_use_on(const file_identity &file);

// The file that the block device is a loop device on, as its path was when it was attached; none if it
// isn't one.
std::optional<std::string> file_of_loop_device(dev_t device);

} // namespace dmcache
