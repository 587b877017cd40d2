// Requests that begin or end within a sector, made of such that don't.
//
// A write changes a sector by reading it and writing it back. In between nobody else may change it,
// or the bytes beside would come to be what they were before. So the sector is held: writes to it
// that arrive are kept waiting, and those under way are waited for by the reading, since requests
// that overlap are carried out in the order in which they came.
#pragma once

#include <system_error>

#include "caching/engine/request.h"

namespace dmcache {

// What they are made of.
class sector_requests {
 public:
  sector_requests() = default;
  sector_requests(const sector_requests &) = delete;
  sector_requests &operator=(const sector_requests &) = delete;
  virtual ~sector_requests() = default;

  // Carries out a request of whole sectors. Unless it comes from `holder`, the one who holds all of
  // the sectors that it writes, it waits until nobody holds any of these.
  virtual std::error_code carry_out_sectors(request &which, bool is_holder) = 0;
  // Waits until nobody else holds the sector. Who holds one must not ask for another.
  virtual void hold(sectors which) = 0;
  virtual void let_go(sectors which) = 0;
};

inline bool is_of_sectors(const request &which) {
  return (which.offset.value() | which.length.value()) % sector_size == 0;
}

// A request of any offset and length, not 0. What of a discard isn't whole sectors is left alone.
std::error_code carry_out_bytes(const request &which, sector_requests &by);

} // namespace dmcache
