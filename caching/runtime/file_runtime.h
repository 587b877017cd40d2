// Runs an engine on files from one event loop, in one thread.
//
// All I/O, of requests, migrations and commits alike, goes past the page cache and through one
// queue to the three files. Each round of the loop hands all new I/O to the kernel in one call, and
// takes back all that has ended. The loop never blocks, except on discards where the kernel has no
// asynchronous way to do them.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/file_requests.h"
#include "base/result.h"
#include "caching/engine/cache_engine.h"
#include "caching/runtime/opened_cache.h"

namespace dmcache {

class file_runtime final : private io_listener {
 public:
  // Is called with each request that is completed. It may submit others.
  using completion_handler = std::function<void(request &)>;

  // Opens and locks the three devices, which must be different ones, and activates the cache.
  static result<std::unique_ptr<file_runtime>>
  open(const cache_paths &paths, const engine_options &options, completion_handler on_completed);
  file_runtime(const file_runtime &) = delete;
  file_runtime &operator=(const file_runtime &) = delete;
  // Without close() before it, this is like a power cut, except that it waits for the I/O that the
  // kernel has. Requests that are not completed by then never will be; their data must live until
  // the destructor returns.
  ~file_runtime() override = default;

  bytes origin_size() const { return engine_->state().origin_size; }
  // The offset, the length and the address of the data of each request must be multiples of this.
  std::size_t logical_block_size() const { return cache_.granularity; }
  const cache_engine &engine() const { return *engine_; }

  // The request goes on its way with the next round of the loop.
  void submit(request &arrived);

  // One round of the loop: waits until an I/O ends or time is due, but not longer than `limit`, and
  // has the engine go on from there. It may return early, with nothing done.
  void run_once(std::optional<std::chrono::nanoseconds> limit = {});
  template <typename Condition> void run_until(Condition is_reached) {
    while (!is_reached()) {
      run_once();
    }
  }
  // Makes the run_once() under way return, or else the next one. Any thread and any signal handler
  // may call this.
  void wake() const { requests_->wake(); }

  // These are the engine's (cache_engine.h). Each runs the loop until it is done, so the completion
  // handler must not call them.
  result<> clean();
  result<> reload(options_change change);
  result<> message(std::vector<std::string> words);
  // Shuts the cache down cleanly. After that the only thing to do with this is to destroy it.
  result<> close();

 private:
  file_runtime(opened_cache cache, std::unique_ptr<cache_engine> engine,
               std::unique_ptr<file_requests> requests, completion_handler on_completed);

  void io_done(std::uint64_t tag, std::error_code error) override;
  void hand_over();
  void issue(engine_io &io);
  bool deliver();
  template <typename Start> result<> run_control(Start start);

  opened_cache cache_;
  std::array<const opened_file *, 3> file_; // its files, by cache_device
  std::unique_ptr<cache_engine> engine_;
  completion_handler on_completed_;
  intrusive_queue<request> refused_;
  intrusive_queue<engine_io> background_; // to be begun when others have had their turn
  // The first to be destroyed, since the I/O in flight uses memory of the members above.
  std::unique_ptr<file_requests> requests_;
};

} // namespace dmcache
