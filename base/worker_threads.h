// A few threads that carry out tasks in the order in which they come.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"

namespace dmcache {

class worker_threads {
 public:
  using task = std::move_only_function<void()>; // which throws nothing

  // Starts `count` threads, at least one. Fails with failure::environment if they can't all be made.
  static result<std::unique_ptr<worker_threads>> start(unsigned count);
  worker_threads(const worker_threads &) = delete;
  worker_threads &operator=(const worker_threads &) = delete;
  // Waits for the tasks that are begun, and drops the others.
  ~worker_threads();

  // For any thread.
  void add(task wanted) EXCLUDES(mutex_);

 private:
  worker_threads() = default;

  void work() EXCLUDES(mutex_);

  mutex mutex_;
  condition changed_;
  std::deque<task> waiting_ GUARDED_BY(mutex_);
  bool is_ending_ GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

} // namespace dmcache
