// A device of which one part is replaced in memory, so that it can be read as if it had been
// mended.
#pragma once

#include <cstddef>

#include "base/memory_device.h"

namespace dmcache {

class patched_device final : public device {
 public:
  // Replaces [begin, begin + size) by zeroes, which can be written to. No request may cross the
  // border of that part, or change anything elsewhere; there is nothing to flush. `whole` must
  // outlive this.
  patched_device(device &whole, bytes begin, bytes size)
      : whole_{whole}, begin_{begin}, patch_{size} {}

  bytes size() const override { return whole_.size(); }
  std::size_t logical_block_size() const override { return whole_.logical_block_size(); }
  void submit(std::span<const io_request> requests) override;
  void wait() override;
  std::error_code flush() override { return {}; }

 private:
  device &whole_;
  bytes begin_;
  memory_device patch_;
  std::size_t in_patch_ = 0; // requests in flight
};

} // namespace dmcache
