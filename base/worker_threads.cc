#include "base/worker_threads.h"

#include <system_error>
#include <utility>

#include <fmt/format.h>

namespace dmcache {

result<std::unique_ptr<worker_threads>> worker_threads::start(unsigned count) {
  std::unique_ptr<worker_threads> made{new worker_threads};
  try {
    while (made->threads_.size() < count) {
      made->threads_.emplace_back([all = made.get()] { all->work(); });
    }
  } catch (const std::system_error &failed) {
    return fail(failure::environment, fmt::format("can't start threads: {}: raise the limit of "
                                                  "processes (ulimit -u)",
                                                  failed.code().message()));
  }
  return made;
}

worker_threads::~worker_threads() {
  {
    const mutex_guard ending{mutex_};
    is_ending_ = true;
  }
  changed_.notify_all();
  for (std::thread &each : threads_) {
    each.join();
  }
}

void worker_threads::add(task wanted) {
  {
    const mutex_guard adding{mutex_};
    waiting_.push_back(std::move(wanted));
  }
  changed_.notify_one();
}

void worker_threads::work() {
  for (;;) {
    task next;
    {
      const mutex_guard looking{mutex_};
      while (waiting_.empty() && !is_ending_) {
        changed_.wait(mutex_);
      }
      if (is_ending_) {
        return;
      }
      next = std::move(waiting_.front());
      waiting_.pop_front();
    }
    next();
  }
}

} // namespace dmcache
