// A non-owning device, for APIs that take ownership.
#pragma once

#include "base/device.h"

namespace dmcache {

class lent_device final : public device {
 public:
  // `lent` must outlive this.
  explicit lent_device(device &lent) : lent_{lent} {}

  bytes size() const override { return lent_.size(); }
  void submit(std::span<const io_request> requests) override { lent_.submit(requests); }
  void wait() override { lent_.wait(); }
  std::error_code flush() override { return lent_.flush(); }

 private:
  device &lent_;
};

} // namespace dmcache
