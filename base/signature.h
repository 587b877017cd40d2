// What a device holds already, told by the marks that file systems and the like begin with.
#pragma once

#include <optional>
#include <string>

#include "base/device.h"
#include "base/opened_file.h"

namespace dmcache {

// "an ext4 file system", "a gpt partition table", ...: what libblkid knows of an open file or block
// device, or of a part of one, if it knows something.
std::optional<std::string> signature_on(const opened_file &file);

// "a qcow2 image", ...: the format of a disk image, of which the bytes of the file are not those of
// the disk. None either if the device can't be read.
std::optional<std::string> image_format_on(device &on);

} // namespace dmcache
