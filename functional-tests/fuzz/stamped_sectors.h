// A device of any size of which each sector's first eight bytes are kept: they stand for the rest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>
#include <unordered_map>
#include <utility>

#include "base/units.h"

namespace dmcache::fuzz {

using stamp = std::uint64_t;
inline constexpr stamp zeroes = 0;

inline stamp stamp_in(std::span<const std::byte> data, std::uint64_t index) {
  stamp found = 0;
  std::memcpy(&found, data.subspan(index * sector_size).data(), sizeof found);
  return found;
}

inline void put_stamp(std::span<std::byte> data, std::uint64_t index, stamp value) {
  std::memcpy(data.subspan(index * sector_size).data(), &value, sizeof value);
}

class stamped_sectors {
 public:
  // `untouched` tells what stands in a sector that was never written to.
  explicit stamped_sectors(std::function<stamp(std::uint64_t)> untouched)
      : untouched_{std::move(untouched)} {}

  stamp at(std::uint64_t sector) const {
    const auto found = written_.find(sector);
    return found != written_.end() ? found->second : untouched_(sector);
  }
  void set(std::uint64_t sector, stamp value) { written_[sector] = value; }

  void read(bytes offset, std::span<std::byte> into) const {
    for (std::uint64_t i = 0; i < into.size() / sector_size; ++i) {
      put_stamp(into, i, at(offset.value() / sector_size + i));
    }
  }
  void write(bytes offset, std::span<const std::byte> from) {
    for (std::uint64_t i = 0; i < from.size() / sector_size; ++i) {
      set(offset.value() / sector_size + i, stamp_in(from, i));
    }
  }
  void zero(bytes offset, bytes length) {
    for (std::uint64_t i = 0; i < length.value() / sector_size; ++i) {
      set(offset.value() / sector_size + i, zeroes);
    }
  }

  bool is_untouched() const { return written_.empty(); }

 private:
  std::function<stamp(std::uint64_t)> untouched_;
  std::unordered_map<std::uint64_t, stamp> written_;
};

} // namespace dmcache::fuzz
