// The threads of threaded_runtime.h, and how they share the engine, as its own files know them:
// threaded_runtime.cc carries out what is asked, live_resize.cc takes up devices that have grown.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "caching/engine/byte_request.h"
#include "caching/runtime/asker.h"
#include "caching/runtime/blocking_files.h"
#include "caching/runtime/threaded_runtime.h"
#include "caching/runtime/trouble_log.h"
#include "caching/runtime/waiting_io.h"

namespace dmcache {

class engine_threads final : public threaded_runtime {
  // What can be answered at once.
  template <typename Question> auto look(Question question) EXCLUDES(mutex_) {
    const mutex_guard looking{mutex_};
    return question(*engine_);
  }

 public:
  engine_threads(cache_paths paths, std::shared_ptr<blocking_files> files,
                 std::unique_ptr<cache_engine> engine, trouble_handler tell)
      : paths_{std::move(paths)}, files_{std::move(files)}, engine_{std::move(engine)},
        tell_{std::move(tell)}, origin_size_{engine_->state().origin_size} {}
  ~engine_threads() override { stop_threads(); }

  result<> start() override;
  std::error_code carry_out(request &wanted) override;
  std::vector<origin_extent> extents(bytes offset, bytes length) override;
  result<> clean(cache_engine::afterwards intended) override;
  result<> reload(options_change change) override;
  result<> message(std::vector<std::string> words) override;
  std::vector<origin_block> cached_in(cache_block begin, cache_block end) override {
    return look(
        [&](cache_engine &engine) { return engine.state().mappings->mapped_in(begin, end); });
  }
  result<> compare(std::span<compared_block> blocks, comparison_changes wanted) override;
  engine_status status() override;
  engine_options options() override {
    return look([](cache_engine &engine) { return engine.state().options; });
  }
  size_advice advice() override {
    return look([](cache_engine &engine) { return engine.advice(); });
  }
  result<block_explanation> explain(bytes offset) override {
    return look([offset](cache_engine &engine) { return engine.explain(offset); });
  }
  request_recorder &recorder() override { return recorder_; }
  result<std::string> resize(const std::function<result<>()> &announce) override;
  result<> close() override;
  bool is_closed() override {
    const mutex_guard looking{mutex_};
    return entrance_ == entrance::closed;
  }
  bytes origin_size() const override { return origin_size_.load(); }

 private:
  // A thread may use the engine for as long as an `inside` of its own lives, except while there is an
  // `outside` as well. Whenever it leaves, it wakes the threads for which the engine had something.
  class SCOPED_CAPABILITY inside {
   public:
    explicit inside(engine_threads &of) ACQUIRE(of.mutex_) : of_{of} { of.mutex_.lock(); }
    inside(const inside &) = delete;
    inside &operator=(const inside &) = delete;
    ~inside() RELEASE() NO_THREAD_SAFETY_ANALYSIS { of_.leave(); }

   private:
    engine_threads &of_;
  };
  class SCOPED_CAPABILITY outside {
   public:
    explicit outside(engine_threads &of) RELEASE(of.mutex_) : of_{of} { of.leave(); }
    outside(const outside &) = delete;
    outside &operator=(const outside &) = delete;
    ~outside() RELEASE() NO_THREAD_SAFETY_ANALYSIS { of_.mutex_.lock(); }

   private:
    engine_threads &of_;
  };

  static std::unexpected<error> is_shut_down() {
    return fail(failure::failed, "the cache is shut down");
  }

  std::error_code carry_out_sectors(request &wanted, bool has_locked_them) EXCLUDES(mutex_);
  std::error_code carry_out_bytes(const request &wanted) EXCLUDES(mutex_);
  void exchange_lock(std::optional<sectors> wanted, std::optional<sectors> &held) EXCLUDES(mutex_);

  // Calls `question` with the engine and a control, which the engine finishes. ask() waits while the
  // engine is being exchanged.
  template <typename Question> result<> ask(Question question) EXCLUDES(mutex_);
  template <typename Question> result<> put(Question question) REQUIRES(mutex_);
  asker *take_asker() REQUIRES(mutex_);
  bool wait_for_answer(asker &self) REQUIRES(mutex_);
  void carry_out_and_tell(engine_io &io) REQUIRES(mutex_);
  void hand_out() REQUIRES(mutex_);
  void let_know(asker &told) REQUIRES(mutex_);
  void leave() RELEASE(mutex_);

  void tell_failed(const engine_io &io, std::error_code error) EXCLUDES(mutex_, telling_);
  void tell_cut_files(blocking_files &among) EXCLUDES(mutex_, telling_);
  template <typename Choice> void tell_some(Choice choose) EXCLUDES(mutex_, telling_);

  struct opened_engine {
    std::shared_ptr<blocking_files> files;
    std::unique_ptr<cache_engine> engine;
  };

  result<> hold() EXCLUDES(mutex_);
  result<> shut_engine_down() EXCLUDES(mutex_);
  result<> exchange_engine(opened_cache grown, opened_cache as_before) noexcept REQUIRES(closing_)
      EXCLUDES(mutex_);
  static result<opened_engine> open_engine(opened_cache on, const engine_options &options);
  result<> go_on_with(opened_engine opened) REQUIRES(closing_) EXCLUDES(mutex_);

  void work(bool prefers_background) EXCLUDES(mutex_);
  void keep_time() EXCLUDES(mutex_);
  void stop_threads() EXCLUDES(mutex_);
  void end() EXCLUDES(mutex_);

  // A thread takes them in this order. None is held during I/O on behalf of the engine, and none
  // but closing_ while tell_ is called.
  mutex closing_ ACQUIRED_BEFORE(mutex_);
  mutex mutex_ ACQUIRED_BEFORE(telling_);
  mutex telling_;

  const cache_paths paths_;
  std::optional<result<>> closed_ GUARDED_BY(closing_);

  // Changed with both closing_ and mutex_ held, and when no I/O of the engine's is under way, which
  // uses the files without a lock. All others hold closing_, or copy this pointer while they hold
  // mutex_. None after close().
  std::shared_ptr<blocking_files> files_;

  std::unique_ptr<cache_engine> engine_ PT_GUARDED_BY(mutex_);
  waiting_io for_workers_ GUARDED_BY(mutex_);
  intrusive_queue<asker> to_be_woken_ GUARDED_BY(mutex_); // when the lock is released
  intrusive_queue<asker> free_askers_ GUARDED_BY(mutex_);
  std::vector<std::unique_ptr<asker>> askers_ GUARDED_BY(mutex_);
  sector_locks locked_sectors_ GUARDED_BY(mutex_);
  bool is_stopping_ GUARDED_BY(mutex_) = false;
  // Whether who comes may enter the engine, has to wait until there is another one, or never may any
  // more, as nobody then waits for it.
  enum class entrance : std::uint8_t { open, held, closed };
  entrance entrance_ GUARDED_BY(mutex_) = entrance::open;
  unsigned nr_asking_ GUARDED_BY(mutex_) = 0;      // for whom the engine has no answer yet
  unsigned nr_controls_ GUARDED_BY(mutex_) = 0;    // that were asked by ask(), of these
  cache_counts earlier_counts_ GUARDED_BY(mutex_); // of engines before this one

  condition work_arrived_;
  condition time_stops_;
  condition sector_unlocked_;
  condition let_in_; // or turned away
  condition all_answered_;
  std::vector<std::thread> threads_;

  request_recorder recorder_;

  const trouble_handler tell_;
  trouble_log troubles_ GUARDED_BY(telling_);

  std::atomic<bytes> origin_size_;
};

template <typename Question> result<> engine_threads::ask(Question question) {
  const inside entered{*this};
  while (entrance_ == entrance::held) {
    let_in_.wait(mutex_);
  }
  ++nr_controls_;
  auto outcome = put(std::move(question));
  --nr_controls_;
  return outcome;
}

template <typename Question> result<> engine_threads::put(Question question) {
  if (entrance_ == entrance::closed) {
    return is_shut_down();
  }
  asker *const self = take_asker();
  if (self == nullptr) {
    return fail(failure::environment, std::make_error_code(std::errc::not_enough_memory).message());
  }
  control wanted;
  wanted.client = self;
  question(*engine_, wanted);
  return wait_for_answer(*self) ? wanted.outcome : is_shut_down();
}

// Tells the line, or the lines, that `choose` takes from the log.
template <typename Choice> void engine_threads::tell_some(Choice choose) {
  try {
    const auto lines = [&] {
      const mutex_guard choosing{telling_};
      return choose(troubles_);
    }();
    for (const std::string &each : lines) {
      tell_(each);
    }
  } catch (const std::bad_alloc &) { // NOLINT(*-empty-catch)
    // A line that nobody reads does less harm than an I/O whose end the engine is not told.
  }
}

} // namespace dmcache
