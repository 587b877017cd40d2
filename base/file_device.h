// Regular files and block devices, through the kernel's asynchronous I/O.
#pragma once

#include <memory>
#include <string>

#include "base/device.h"
#include "base/result.h"

namespace dmcache {

enum class access { read_only, read_write };

// Opens `path`, bypassing the page cache where the file system can (O_DIRECT), with many requests
// in flight. Nobody else may be using it: a block device is opened exclusively; a regular file is
// locked (flock: shared to read, exclusive to write) for as long as the device lives.
//
// Fails with failure::environment and a text that names `path`: not there, no permission, neither a
// block device nor a regular file, in use.
result<std::unique_ptr<device>> open_file_device(const std::string &path, access mode);

// Do both paths name the same file or device?
bool is_same_file(const std::string &one, const std::string &other);

} // namespace dmcache
