// An open file or block device for many threads, each of which waits for its own I/O.
#pragma once

#include <cstddef>
#include <span>
#include <system_error>

#include "base/file_descriptor.h"
#include "base/units.h"

namespace dmcache {

// All of it can be called by several threads at a time. An error is the first that was met; how
// much was done before it isn't known.
class blocking_file {
 public:
  // Requires an open file.
  explicit blocking_file(file_descriptor file);

  // Up to the end of `into`; to read past the end of the file is an I/O error.
  std::error_code read(bytes offset, std::span<std::byte> into) const;
  std::error_code write(bytes offset, std::span<const std::byte> data) const;
  // What was written is durable.
  std::error_code flush() const;
  // The range isn't needed any more: what is read of it later is old, or zero. Where it can't be
  // done, or can't be done to such a range, nothing happens.
  std::error_code discard(bytes offset, bytes length) const;
  // By the file system or the device if it can, else by writing. If they `may_trim`, they need no
  // room there.
  std::error_code write_zeroes(bytes offset, bytes length, bool may_trim = false) const;

  struct extent {
    bytes end; // after the offset; it may be far behind the file's
    bool is_hole;
  };
  // What follows from here on, within the file. What the file system doesn't know is no hole.
  extent extent_at(bytes offset) const;

 private:
  file_descriptor file_;
  bool is_block_device_ = false;
};

} // namespace dmcache
