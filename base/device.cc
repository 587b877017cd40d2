#include "base/device.h"

namespace dmcache {

std::error_code transfer_and_wait(device &on, io_request::operation op, bytes offset,
                                  std::span<std::byte> data) {
  struct outcome final : io_listener {
    bool ended = false;
    std::error_code error;
    void io_done(std::uint64_t /*tag*/, std::error_code with) override {
      ended = true;
      error = with;
    }
  } only;
  const io_request request{op, offset, data, &only, 0};
  on.submit({&request, 1});
  while (!only.ended) {
    on.wait();
  }
  return only.error;
}

} // namespace dmcache
