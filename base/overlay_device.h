// A device whose changes stay in memory, so that what would be done to it can be rehearsed.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/device.h"

namespace dmcache {

class overlay_device final : public device, private io_listener {
 public:
  // `below` is only read, and must outlive this, which alone uses it.
  explicit overlay_device(device &below) : below_{below} {}

  bytes size() const override { return below_.size(); }
  void submit(std::span<const io_request> requests) override;
  void wait() override;
  std::error_code flush() override { return {}; }

 private:
  using page = std::array<std::byte, io_alignment>;

  void io_done(std::uint64_t tag, std::error_code error) override;
  std::error_code write(const io_request &request);
  void read_over(const io_request &request) const;

  device &below_;
  std::unordered_map<std::uint64_t, std::unique_ptr<page>> written_; // by number
  std::unordered_map<std::uint64_t, io_request> reads_;              // in flight below, by tag
  std::uint64_t next_tag_ = 0;
  struct ended_request {
    io_request request;
    std::error_code error;
  };
  std::vector<ended_request> ended_; // whose listeners have not been told yet
};

} // namespace dmcache
