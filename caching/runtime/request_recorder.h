// Keeps what clients ask for, for somebody who takes it away in time.
//
// Nobody waits for him: what comes when there is no room is counted, and lost. Memory is taken only for
// as long as something is recorded.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/mutex.h"
#include "base/units.h"
#include "caching/engine/instant.h"
#include "caching/engine/request.h"

namespace dmcache {

struct recorded_request {
  instant at{};
  bool is_write = false;
  bytes offset;
  bytes length;
};

class request_recorder {
 public:
  static constexpr std::size_t capacity = 65536; // requests

  // All is for any thread. ------------------------------------------------------------------------

  bool is_on() const { return is_on_.load(std::memory_order_relaxed); }
  // Keeps a read, a write or a zeroing, which is a write; not what carries no data, nor a discard. The
  // requests have the order, and the times, of these calls.
  void note(const request &asked) EXCLUDES(mutex_);

  // False if somebody is recording already.
  bool start() EXCLUDES(mutex_);
  void stop() EXCLUDES(mutex_);
  // Replaces what is in `taken` by what was kept since the last time. Returns how many were lost.
  std::uint64_t take(std::vector<recorded_request> &taken) EXCLUDES(mutex_);

 private:
  std::atomic<bool> is_on_ = false;
  mutex mutex_;
  std::vector<recorded_request> kept_ GUARDED_BY(mutex_);
  std::uint64_t nr_lost_ GUARDED_BY(mutex_) = 0;
};

} // namespace dmcache
