// Regular files and block devices that are open, and in use by nobody else.
#pragma once

#include <cstddef>
#include <string>

#include "base/file_descriptor.h"
#include "base/result.h"
#include "base/units.h"

namespace dmcache {

enum class access { read_only, read_write };

// Who keeps others from using a regular file that this opens.
enum class locking { own, callers };

struct opened_file {
  file_descriptor file;
  bytes size;

  // Another descriptor of the same open file: under the same lock, which lasts until both are gone.
  file_descriptor duplicate() const;
  // The size that all requests must be multiples of, found out by reading.
  std::size_t logical_block_size() const;
  // Does discarding work? This is found out by trying, which harms nothing.
  bool can_discard() const;
  // Makes the page cache forget what it has read of a block device: others, such as the kernel's
  // cache, write to it without telling the page cache. What waits there to be written stays. Does
  // nothing with a regular file, whose page cache knows of all that is written.
  void forget_cached_pages() const;
};

// Opens `path`, bypassing the page cache where the file system can (O_DIRECT). Nobody else may be
// using it: a block device is opened exclusively; a regular file is locked (flock: shared to read,
// exclusive to write) for as long as it is open, unless the caller says that it is locked already.
//
// Fails with failure::environment and a text that names `path`: not there, no permission, neither a
// block device nor a regular file, in use.
result<opened_file> open_file(const std::string &path, access mode, locking by = locking::own);

// Locks a regular file as open_file() does, for as long as the value, or a copy of it that another
// process got, is open. Fails as that does. The value is not open for a block device: to use it keeps
// others out.
result<file_descriptor> lock_file(const std::string &path, access mode);
// Locks the file once more, if somebody who has a copy of `lock` has unlocked it. False if somebody
// else has locked it since.
bool lock_again(const file_descriptor &lock, access mode);

// Does somebody else use the file or device, so that open_file() would refuse it for that?
bool is_in_use(const std::string &path, access mode);

// Do both paths name the same file or device?
bool is_same_file(const std::string &one, const std::string &other);

} // namespace dmcache
