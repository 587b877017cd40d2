// The standard library's locks, with what clang needs to check their use (thread_annotations.h).
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "base/thread_annotations.h"

namespace dmcache {

class CAPABILITY("mutex") mutex {
 public:
  void lock() ACQUIRE() { mutex_.lock(); }
  void unlock() RELEASE() { mutex_.unlock(); }

 private:
  friend class condition;

  std::mutex mutex_;
};

// Has the mutex for as long as it lives.
class SCOPED_CAPABILITY mutex_guard {
 public:
  explicit mutex_guard(mutex &guarded) ACQUIRE(guarded) : mutex_{guarded} { mutex_.lock(); }
  mutex_guard(const mutex_guard &) = delete;
  mutex_guard &operator=(const mutex_guard &) = delete;
  ~mutex_guard() RELEASE() { mutex_.unlock(); }

 private:
  mutex &mutex_;
};

// Something that threads wait for. Those that wait may be woken for no reason, so each looks itself
// whether what it waits for has come.
class condition {
 public:
  // The mutex is released while the thread waits.
  void wait(mutex &held) REQUIRES(held) {
    std::unique_lock lock{held.mutex_, std::adopt_lock};
    changed_.wait(lock);
    lock.release();
  }
  void wait_for(mutex &held, std::chrono::nanoseconds at_most) REQUIRES(held) {
    std::unique_lock lock{held.mutex_, std::adopt_lock};
    changed_.wait_for(lock, at_most);
    lock.release();
  }
  void notify_one() { changed_.notify_one(); }
  void notify_all() { changed_.notify_all(); }

 private:
  std::condition_variable changed_;
};

} // namespace dmcache
