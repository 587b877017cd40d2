// The metadata device that a command line names.
#pragma once

#include <memory>
#include <string>

#include "base/file_device.h"
#include "base/result.h"
#include "caching/metadata/superblock.h"

namespace dmcache {

struct metadata_device {
  std::unique_ptr<device> from;
  superblock block; // as read_superblock() believes it
};

// Reads the superblock of the metadata on `from`.
result<metadata_device> read_metadata_device(std::unique_ptr<device> from);

// Opens it; "-", to be read, is a copy of all that comes from standard input. Fails, and says so, if
// it holds an XML document instead.
result<std::unique_ptr<device>> open_metadata_device(const device_part &part,
                                                     access mode = access::read_only);

// Opens it so, and reads its superblock. Fails, and says so, if it holds an XML document instead,
// or is too small for metadata.
result<metadata_device> open_metadata(const device_part &part, access mode = access::read_only);
// Does the same with a file that is open already; `path` is for the text of a failure.
result<metadata_device> open_metadata(opened_file file, const std::string &path);
result<std::unique_ptr<device>> make_metadata_device(opened_file file, const std::string &path);

} // namespace dmcache
