// Cuts cached blocks into pieces that lie beside one another on the origin, for those who go through
// both devices in the order of the origin.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/device.h"
#include "base/units.h"
#include "caching/metadata/cache_contents.h"

namespace dmcache {

struct block_geometry {
  bytes block_size;
  bytes origin_end; // blocks that reach beyond end here
  bytes fast_end;
};

// The end of a device, counted in whole sectors.
inline bytes end_of(const device &of) {
  return bytes{of.size().value() / sector_size * sector_size};
}

// Part of a block, or all of it.
struct block_piece {
  std::size_t block;    // its place among the blocks that are cut
  std::uint64_t origin; // byte of the device
  std::uint64_t fast;
  std::uint64_t length;

  std::uint64_t origin_end() const { return origin + length; }
};

// Reads of all of these from the fast device into `memory`, one piece after another; neighbours are
// read together.
std::vector<io_request> fast_reads(std::span<const block_piece> pieces, std::span<std::byte> memory,
                                   io_listener &listener);

class block_pieces {
 public:
  using location = cache_contents::location;

  // Of a block that lies beyond a device's end: `is_on_origin` says that it isn't the origin's, `at`
  // where it would begin on that device.
  using told_beyond = std::function<void(std::size_t block, bool is_on_origin, bytes at)>;

  // The blocks ascend by origin block, and outlive this.
  block_pieces(const block_geometry &geometry, std::span<const location> blocks)
      : geometry_{geometry}, blocks_{blocks} {}

  // Pieces of at most `room` bytes together that follow one another on the origin; none at the end.
  std::vector<block_piece> next(std::uint64_t room, const told_beyond &beyond);

  // So many blocks are cut, from the first on.
  std::size_t nr_cut() const { return at_; }
  bool is_done() const { return at_ == blocks_.size(); }

 private:
  block_geometry geometry_;
  std::span<const location> blocks_;
  std::size_t at_ = 0;        // of the block that is being cut
  std::uint64_t cut_off_ = 0; // bytes of it that are cut already
};

} // namespace dmcache
