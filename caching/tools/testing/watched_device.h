// A device of which tests see each request, and decide whether it fails.
#pragma once

#include <functional>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

#include "base/device.h"

namespace dmcache {

// Stands before another device, and is asked before each request, and each flush (then without a
// request), whether that fails.
class watched_device final : public device {
 public:
  using decide = std::function<bool(const io_request *)>;

  watched_device(device &behind, decide fails) : behind_{behind}, fails_{std::move(fails)} {}

  bytes size() const override { return behind_.size(); }
  void submit(std::span<const io_request> requests) override {
    for (const io_request &each : requests) {
      if (fails_(&each)) {
        doomed_.push_back(each);
      } else {
        behind_.submit({&each, 1});
      }
    }
  }
  void wait() override {
    if (doomed_.empty()) {
      behind_.wait();
    }
    for (const io_request &each : std::exchange(doomed_, {})) {
      each.listener->io_done(each.tag, std::make_error_code(std::errc::io_error));
    }
  }
  std::error_code flush() override {
    return fails_(nullptr) ? std::make_error_code(std::errc::io_error) : behind_.flush();
  }

 private:
  device &behind_;
  decide fails_;
  std::vector<io_request> doomed_;
};

inline bool touches(const io_request *request, std::uint64_t begin, std::uint64_t end) {
  return request != nullptr && request->offset < bytes{end} &&
         bytes{begin} < request->offset + request->data.size();
}

inline bool is_write(const io_request *request) {
  return request != nullptr && request->op == io_request::operation::write;
}

} // namespace dmcache
