// The parts of a sector that requests of bytes tell apart: each is written and read as a whole, and
// has a stamp of its own. Numbered through all sectors.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "base/units.h"
#include "caching/simulation/data_model.h"
#include "caching/simulation/stamp.h"

namespace dmcache {

class sector_parts {
 public:
  // The first `nr_kept` bytes of each sector are stored. `cuts` are where parts begin but the first, in
  // order, each with room for a stamp.
  sector_parts(std::size_t nr_kept, std::vector<std::size_t> cuts) : begins_{std::move(cuts)} {
    begins_.insert(begins_.begin(), 0);
    begins_.push_back(nr_kept);
    for (std::size_t i = 1; i < begins_.size(); ++i) {
      require(begins_[i] >= begins_[i - 1] + sizeof(stamp), "a part has room for its stamp");
    }
  }

  std::uint64_t nr_per_sector() const { return begins_.size() - 1; }
  // Where it begins in its sector.
  std::size_t begin_of(std::uint64_t part) const { return begins_[part % nr_per_sector()]; }
  std::uint64_t offset_of(std::uint64_t part) const {
    return part / nr_per_sector() * sector_size + begin_of(part);
  }
  // The one that begins at this byte.
  std::uint64_t part_at(std::uint64_t offset) const {
    const auto found = std::ranges::find(begins_, offset % sector_size);
    require(found < begins_.end() - 1, "requests of bytes begin and end with parts of sectors");
    return offset / sector_size * nr_per_sector() +
           static_cast<std::uint64_t>(found - begins_.begin());
  }
  // Those of these sectors.
  sector_range of(sector_range whole) const {
    return {whole.begin * nr_per_sector(), whole.end * nr_per_sector()};
  }
  // What is stored of the part, of data that begin with the part `first`.
  template <typename Byte>
  std::span<Byte> stored(std::span<Byte> data, std::uint64_t first, std::uint64_t part) const {
    const std::size_t length = begins_[part % nr_per_sector() + 1] - begin_of(part);
    return data.subspan(offset_of(part) - offset_of(first), length);
  }

 private:
  std::vector<std::size_t> begins_; // and where the last one ends
};

} // namespace dmcache
