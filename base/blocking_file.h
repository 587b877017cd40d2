// An open file or block device, or a part of one, for many threads, each of which waits for its own I/O.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <span>
#include <system_error>

#include "base/opened_file.h"
#include "base/units.h"

namespace dmcache {

// Everything here can be called by several threads at a time. The first error that is met is
// returned; nothing is known then of how much was done before. It is an I/O error to reach beyond the
// end of the part that is open, and nothing is done then.
class blocking_file {
 public:
  // Requires an open file.
  explicit blocking_file(opened_file file);

  // Fills `into`.
  std::error_code read(bytes offset, std::span<std::byte> into) const;
  std::error_code write(bytes offset, std::span<const std::byte> data) const;
  // Makes durable what was written.
  std::error_code flush() const;
  // Says that the range isn't needed any more: what is read of it later is old, or zero. Nothing
  // happens where the file can't do that, or not to such a range.
  std::error_code discard(bytes offset, bytes length) const;
  // Lets the file system or the device zero the range, or writes zeroes if they can't. If they
  // `may_trim`, the zeroes need not take room on them.
  std::error_code write_zeroes(bytes offset, bytes length, bool may_trim = false) const;

  const opened_file &opened() const { return file_; }
  // Is it a regular file that ends before the part does by now?
  bool is_cut_short() const;

  struct extent {
    bytes end; // after the offset; it may be far behind the part's
    bool is_hole;
  };
  // The hole, or the data, at this offset within the part. What the file system doesn't know counts
  // as data.
  extent extent_at(bytes offset) const;

 private:
  // Where this is in the file.
  off_t position(bytes offset, std::size_t more = 0) const {
    return static_cast<off_t>(file_.begin.value() + offset.value() + more);
  }

  opened_file file_;
  bool is_block_device_ = false;
};

} // namespace dmcache
