// A request of any offset and length, as requests of whole sectors that are carried out one after the
// other: what the engine takes is whole sectors.
//
// A write to a part of a sector reads the sector and writes it back changed. If another write to
// the sector came between the two, its bytes would be undone. So the sector is locked meanwhile:
// writes that arrive wait until it is unlocked, and the reading waits for writes that are under
// way, since requests that overlap are carried out in the order in which they came.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <system_error>
#include <vector>

#include "caching/engine/request.h"

namespace dmcache {

inline bool is_of_sectors(const request &wanted) {
  return (wanted.offset.value() | wanted.length.value()) % sector_size == 0;
}

class byte_request {
 public:
  // `wanted`, which is about a range, outlives this. If it is empty, or doesn't lie within the origin,
  // it fails with EINVAL and changes nothing. A discard leaves sectors alone of which it covers only a
  // part. Throws std::bad_alloc.
  byte_request(const request &wanted, bytes origin_size);

  // What is to be carried out next, the same until that has ended(); null at the end.
  request *next();
  // The sector that has to be locked before that is begun, and stays locked for as long as this is
  // the answer. At most one is locked at a time.
  std::optional<sectors> locked() const;
  void ended(std::error_code error);
  // At the end. If a write failed, what it should have written is old or new, in part or as a whole.
  std::error_code outcome() const { return outcome_; }

 private:
  bool is_over() const { return outcome_ || at_ >= end_; }
  bool changes_part_of_sector() const;
  void change_sector();

  const request &wanted_;
  std::uint64_t at_ = 0; // all before it is done
  std::uint64_t end_ = 0;
  bool is_sector_read_ = false; // the one at `at_`, of which a part is to be changed
  std::vector<std::byte> contents_;
  request step_;
  std::error_code outcome_;
};

// The sectors that are locked, by whoever carries out requests.
class sector_locks {
 public:
  bool is_locked(sectors sector) const;
  // Has the request to wait? Not for a sector that it is itself the reason for.
  bool are_in_the_way_of(const request &arriving) const;
  // Requires that the sector isn't locked. Throws std::bad_alloc.
  void lock(sectors sector) { locked_.push_back(sector); }
  void unlock(sectors sector) { std::erase(locked_, sector); }

 private:
  std::vector<sectors> locked_;
};

} // namespace dmcache
