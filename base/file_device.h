// Regular files and block devices, or parts of them, through the kernel's asynchronous I/O.
#pragma once

#include <memory>
#include <string>

#include "base/device.h"
#include "base/opened_file.h"
#include "base/result.h"

namespace dmcache {

// Opens it as open_file() does, and fails like it, with many requests in flight. A request that
// reaches beyond the part ends with an I/O error.
result<std::unique_ptr<device>> open_file_device(const device_part &part, access mode,
                                                 locking by = locking::own);
// Makes a device of a file that is open already.
std::unique_ptr<device> make_file_device(opened_file file);

} // namespace dmcache
