// Regular files and block devices that are open, and in use by nobody else.
#pragma once

#include <cstddef>
#include <string>

#include "base/file_descriptor.h"
#include "base/result.h"
#include "base/units.h"

namespace dmcache {

enum class access { read_only, read_write };

struct opened_file {
  file_descriptor file;
  bytes size;

  // Another descriptor of the same open file: under the same lock, which lasts until both are gone.
  file_descriptor duplicate() const;
  // The size that all requests must be multiples of, found out by reading.
  std::size_t logical_block_size() const;
  // Is it a block device that refuses writes? It can be opened for them all the same.
  bool is_read_only_device() const;
  // Does discarding work? This is found out by trying, which harms nothing.
  bool can_discard() const;
  // Makes the page cache forget what it has read of a block device: others, such as the kernel's
  // cache, write to it without telling the page cache. What waits there to be written stays. Does
  // nothing with a regular file, whose page cache knows of all that is written.
  void forget_cached_pages() const;
};

// Opens `path`, bypassing the page cache where the file system can (O_DIRECT). Nobody else may be
// using it: a block device is opened exclusively; a regular file is locked (flock: shared to read,
// exclusive to write) for as long as it is open.
//
// Fails with failure::environment and a text that names `path`: not there, no permission, neither a
// block device nor a regular file, in use.
result<opened_file> open_file(const std::string &path, access mode);

// Does somebody else use the file or device, so that open_file() would refuse it for that?
bool is_in_use(const std::string &path, access mode);

// Do both paths name the same file or device?
bool is_same_file(const std::string &one, const std::string &other);

} // namespace dmcache
