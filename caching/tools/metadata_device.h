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

// Opens `path`; "-", to be read, is a copy of all that comes from standard input. Fails, and says
// so, if it holds an XML document instead.
result<std::unique_ptr<device>> open_metadata_device(const std::string &path,
                                                     access mode = access::read_only);

// Opens `path` so, and reads its superblock. Fails, and says so, if it holds an XML document instead,
// or is too small for metadata.
result<metadata_device> open_metadata(const std::string &path, access mode = access::read_only);

} // namespace dmcache
