// Carries out requests that begin or end within a sector by requests of whole sectors.
//
// A write to a part of a sector reads the sector and writes it back changed. If another write to
// the sector came between the two, its bytes would be undone. So the sector is locked meanwhile:
// writes that arrive wait until it is unlocked, and the reading waits for writes that are under
// way, since requests that overlap are carried out in the order in which they came.
#pragma once

#include <system_error>

#include "caching/engine/request.h"

namespace dmcache {

// Whoever carries out requests of whole sectors, and locks sectors.
class sector_requests {
 public:
  sector_requests() = default;
  sector_requests(const sector_requests &) = delete;
  sector_requests &operator=(const sector_requests &) = delete;
  virtual ~sector_requests() = default;

  // Carries out a request of whole sectors. Before a write it waits until none of its sectors is
  // locked, unless the caller has locked all of them.
  virtual std::error_code carry_out_sectors(request &wanted, bool has_locked_them) = 0;
  // Waits until nobody else has locked the sector. The caller must not have locked another one.
  virtual void lock_sector(sectors sector) = 0;
  virtual void unlock_sector(sectors sector) = 0;
};

inline bool is_of_sectors(const request &wanted) {
  return (wanted.offset.value() | wanted.length.value()) % sector_size == 0;
}

// Carries out a request of any offset and length. One that is empty, or doesn't lie within the
// origin, fails with EINVAL and changes nothing. A discard leaves sectors alone of which it covers
// only a part. Throws std::bad_alloc, and then a write may be done in part.
std::error_code carry_out_bytes(const request &wanted, bytes origin_size, sector_requests &by);

} // namespace dmcache
