// Loop devices, by which a file can be in use though nobody has locked it.
#pragma once

#include <sys/stat.h>

#include <linux/loop.h>

#include <optional>
#include <string>

namespace dmcache {

// What the kernel tells of the loop device; none if `node` isn't the node of that device, which is
// attached to something.
std::optional<loop_info64> ask_loop_device(const std::string &node, dev_t device);

// A loop device on the file or block device that somebody uses exclusively, as who mounts it or stacks
// something on it does; empty if there is none, or for want of /sys or of permission none is known.
std::string loop_device_in_use_on(const struct stat &file);

// The file that the block device is a loop device on, as its path was when it was attached; none if it
// isn't one.
std::optional<std::string> file_of_loop_device(dev_t device);

} // namespace dmcache
