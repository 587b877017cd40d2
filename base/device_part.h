// A file or block device as a user names it: all of it, or a part.
//
// So two devices of a cache can be parts of one: LVM's cache volume holds the metadata first, and
// then the cache blocks.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "base/units.h"

namespace dmcache {

struct device_part {
  std::string path;
  bytes begin{};             // a multiple of a sector
  std::optional<bytes> size; // also one; up to the end of the device, if there is none

  device_part() = default;
  // What names no part means all of the device, so that a path alone will do.
  device_part(std::string named, bytes from = {}, std::optional<bytes> length = {})
      : path{std::move(named)}, begin{from}, size{length} {}

  bool is_whole() const { return begin == bytes{} && !size; }
};

} // namespace dmcache
