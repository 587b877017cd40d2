// Regular files and block devices, or parts of them, that are open, and in use by nobody else.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "base/device_part.h"
#include "base/file_descriptor.h"
#include "base/result.h"
#include "base/units.h"

namespace dmcache {

enum class access { read_only, read_write };

// Who keeps others from using a regular file that this opens.
enum class locking { own, callers };

struct opened_file {
  file_descriptor file;
  bytes size;              // of the part
  bytes begin{};           // where the part begins in the file; all else counts from there
  file_descriptor claim{}; // keeps others out, if `file` doesn't: another part was opened before

  // Does the part have this range? Nothing else may be read or written.
  bool holds(bytes offset, bytes length) const {
    return length <= size && offset.value() <= size.value() - length.value();
  }
  // Other descriptors of the same open file: under the same lock, which lasts until all are gone.
  // Its `file` isn't open if that failed, with the reason in errno.
  opened_file duplicate() const;
  // A duplicate, for the part as it is by now: without a size of its own it ends where the file does,
  // which may have been resized. Fails as part_of() does, and with failure::environment.
  result<opened_file> measured_again(const device_part &part) const;
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

// Opens it, bypassing the page cache where the file system can (O_DIRECT). Nobody else may be using
// the file, or any part of it: a block device is opened exclusively; a regular file is locked
// (flock: shared to read, exclusive to write) for as long as it is open, unless the caller says that
// it is locked already. Programs of QEMU's, and users of a file through a loop device, are others, too.
//
// Fails with failure::environment and a text that names the path: not there, no permission, neither
// a block device nor a regular file, in use; and as part_of() does.
result<opened_file> open_file(const device_part &part, access mode, locking by = locking::own);

// What is left of an open file if only the part is to be used. Fails with failure::usage if it
// reaches beyond the end, is empty, or doesn't begin at a multiple of the logical block size.
result<opened_file> part_of(opened_file whole, const device_part &part);

struct part_to_open {
  device_part part;
  access mode;
};

// Opens all of them so, in their order. Parts of one file are under one lock, so that they don't
// shut each other out, but are opened each for itself: an error of writing that the kernel finds
// late is told to each of those who flush, and what one does about the page cache, O_DIRECT, is its
// own affair. Parts must not overlap (storage_layers.h).
result<std::vector<opened_file>> open_files(std::span<const part_to_open> wanted,
                                            locking by = locking::own);

// Locks a regular file as open_file() does, for as long as the value, or a copy of it that another
// process got, is open. Fails as that does. The value is not open for a block device: to use it keeps
// others out.
result<file_descriptor> lock_file(const std::string &path, access mode);
// Locks the file once more, if somebody who has a copy of `lock` has unlocked it. False if somebody
// else has locked it since.
bool lock_again(const file_descriptor &lock, access mode);
// Lets others use the file that is locked so, though copies of the descriptor are open still.
void unlock(int lock);

// Does somebody else use the file or device, so that open_file() would refuse it for that?
bool is_in_use(const std::string &path, access mode);

// Do both paths name the same file or device?
bool is_same_file(const std::string &one, const std::string &other);

} // namespace dmcache
