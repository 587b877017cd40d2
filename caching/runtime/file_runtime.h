// Carries out what the engine wants with one thread and one queue: for one who has a loop.
//
// All I/O, of requests, migrations and commits alike, goes through one request queue to the three
// files, past the page cache; what comes up in one round is handed to the kernel at once, and what
// has ended is taken back at once. Only discarding, where the kernel can't do it otherwise, blocks
// the loop.
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
#include "caching/runtime/cache_files.h"

namespace dmcache {

class file_runtime final : private io_listener {
 public:
  // Told of requests that are completed. It may submit more.
  using completion_handler = std::function<void(request &)>;

  // Opens and locks the three devices, which must be different ones, and activates the cache.
  static result<std::unique_ptr<file_runtime>>
  open(const cache_paths &paths, const engine_options &options, completion_handler on_completed);
  file_runtime(const file_runtime &) = delete;
  file_runtime &operator=(const file_runtime &) = delete;
  // Without close(), as if the power failed, but for what was handed to the kernel, for which this
  // waits. Requests that are not completed never will be; their data must live until this is done.
  ~file_runtime() override = default;

  bytes origin_size() const { return engine_->state().origin_size; }
  // What offset, length and the address of the data of a request must be multiples of.
  std::size_t logical_block_size() const { return logical_block_size_; }
  const cache_engine &engine() const { return *engine_; }

  // The request goes on its way with the next round of the loop.
  void submit(request &which);

  // One round: waits until something happens, but not longer than `limit`, and carries it on. May
  // return at any time before.
  void run_once(std::optional<std::chrono::nanoseconds> limit = {});
  template <typename Condition> void run_until(Condition is_reached) {
    while (!is_reached()) {
      run_once();
    }
  }
  // Lets run_once(), or the next one, return. From any thread, or a signal handler.
  void wake() const { requests_->wake(); }

  // Each runs the loop until it is done; see cache_engine.h. Not to be called by a handler.
  result<> clean();
  result<> reload(options_change change);
  result<> message(std::vector<std::string> words);
  // A clean shutdown, once, after which nothing but destruction is left.
  result<> close();

 private:
  file_runtime(cache_files files, std::unique_ptr<device> metadata,
               std::unique_ptr<cache_engine> engine, std::unique_ptr<file_requests> requests,
               std::size_t block_size, completion_handler on_completed);

  void io_done(std::uint64_t tag, std::error_code error) override;
  void hand_over();
  void issue(engine_io &what);
  bool deliver();
  template <typename Start> result<> run_control(Start start);

  cache_files files_;
  std::array<int, 3> file_; // by cache_device
  std::size_t logical_block_size_;
  std::unique_ptr<device> metadata_; // the metadata file seen as the engine opens it
  std::unique_ptr<cache_engine> engine_;
  completion_handler on_completed_;
  intrusive_queue<request> refused_;
  intrusive_queue<engine_io> background_; // to be begun when others have had their turn
  // The first to go: what is in flight uses memory of the others.
  std::unique_ptr<file_requests> requests_;
};

} // namespace dmcache
