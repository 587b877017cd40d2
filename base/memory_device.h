// A device in memory, for tests and for images that come from elsewhere than a file.
#pragma once

#include <deque>
#include <vector>

#include "base/device.h"

namespace dmcache {

class memory_device final : public device {
 public:
  explicit memory_device(bytes size) : contents_(size.value()) {}
  explicit memory_device(std::vector<std::byte> contents) : contents_{std::move(contents)} {}

  std::span<std::byte> contents() { return contents_; }
  std::span<const std::byte> contents() const { return contents_; }

  bytes size() const override { return bytes{contents_.size()}; }
  bool can_discard() const override { return true; } // to zeroes
  void submit(std::span<const io_request> requests) override;
  void wait() override;
  std::error_code flush() override { return {}; }

 private:
  std::error_code carry_out(const io_request &request);

  std::vector<std::byte> contents_;
  std::deque<io_request> queue_;
};

} // namespace dmcache
