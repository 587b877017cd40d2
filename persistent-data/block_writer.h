// Blocks written one after the other, from a given one on, in large requests with several in
// flight.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <system_error>

#include "base/aligned_buffer.h"
#include "base/device.h"
#include "persistent-data/format.h"

namespace dmcache {

class block_writer final : public io_listener {
 public:
  // `to` must outlive this.
  block_writer(device &to, metadata_block first);
  ~block_writer() override; // waits for what is in flight

  struct slot {
    metadata_block where;
    std::span<std::byte, metadata_block_size> data; // anything
  };

  // The next block, for the caller to fill, all of it, and seal before the next call. It must lie
  // within the device.
  slot add();

  // The block that add() would give next.
  metadata_block next() const { return next_; }

  // Has a write failed? All further ones are in vain then.
  bool has_failed() const { return static_cast<bool>(error_); }

  // Waits until all blocks stand on the device, though not yet durably. Returns the first error
  // that was met.
  std::error_code finish();

  void io_done(std::uint64_t tag, std::error_code error) override;

 private:
  static constexpr std::size_t blocks_per_buffer = 256;

  struct buffer {
    aligned_buffer memory{blocks_per_buffer * metadata_block_size};
    bool in_flight = false;
  };

  void write_current();

  device &to_;
  metadata_block next_;
  std::array<buffer, 4> buffers_;
  std::size_t current_ = 0;
  std::size_t used_ = 0; // blocks of the current buffer
  std::error_code error_;
};

} // namespace dmcache
