// What a cache's clients ask for, as lines of the control protocol.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "caching/runtime/request_recorder.h"

namespace dmcache {

// Records for as long as it lives.
class request_stream {
 public:
  // None if somebody is recording already. The recorder must outlive it.
  static std::optional<request_stream> open(request_recorder &of);
  request_stream(request_stream &&other) noexcept
      : recorder_{std::exchange(other.recorder_, nullptr)}, begun_{other.begun_} {}
  request_stream &operator=(request_stream &&other) noexcept {
    std::swap(recorder_, other.recorder_);
    std::swap(begun_, other.begun_);
    return *this;
  }
  ~request_stream();

  // Lines "request TIME,OP,LBA,SIZE" for what was asked since the last time, with times since the
  // beginning, and "lost COUNT" if there was more than could be kept. Empty if there was nothing.
  std::string take();

 private:
  explicit request_stream(request_recorder &of);

  request_recorder *recorder_;
  instant begun_;
  std::vector<recorded_request> taken_;
};

} // namespace dmcache
