// What a device holds already, told by the marks that file systems and the like begin with.
#pragma once

#include <optional>
#include <string>

#include "base/device.h"

namespace dmcache {

// "an ext4 file system", "a gpt partition table", ...: what libblkid knows of an open file or block
// device, if it knows one.
std::optional<std::string> signature_on(int file);

// "a qcow2 image", ...: the format of a disk image, of which the bytes of the file are not those of
// the disk. None either if the device can't be read.
std::optional<std::string> image_format_on(device &on);

} // namespace dmcache
