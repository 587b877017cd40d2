#include "caching/runtime/threaded_runtime.h"

#include <algorithm>
#include <array>
#include <csignal>
#include <new>
#include <optional>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "base/mutex.h"
#include "caching/engine/byte_request.h"
#include "caching/runtime/asker.h"
#include "caching/runtime/blocking_files.h"
#include "caching/runtime/present_time.h"
#include "caching/runtime/trouble_log.h"
#include "caching/runtime/waiting_io.h"

namespace dmcache {
namespace {

constexpr unsigned nr_workers = 8; // up to three of them may be flushing, one for each device

std::error_code no_memory() {
  return std::make_error_code(std::errc::not_enough_memory);
}

std::unexpected<error> is_shut_down() {
  return fail(failure::failed, "the cache is shut down");
}

class runtime final : public threaded_runtime {
  // What can be answered at once.
  template <typename Question> auto look(Question question) EXCLUDES(mutex_) {
    const mutex_guard looking{mutex_};
    return question(*engine_);
  }

 public:
  runtime(std::shared_ptr<blocking_files> files, std::unique_ptr<cache_engine> engine,
          trouble_handler tell)
      : files_{std::move(files)}, engine_{std::move(engine)}, tell_{std::move(tell)},
        origin_size_{engine_->state().origin_size} {}
  ~runtime() override { stop_threads(); }

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
  engine_status status() override {
    return look([](cache_engine &engine) { return engine.status(); });
  }
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
  result<> close() override;
  bytes origin_size() const override { return origin_size_; }

 private:
  // A thread may use the engine for as long as an `inside` of its own lives, except while there is an
  // `outside` as well. Whenever it leaves, it wakes the threads for which the engine had something.
  class SCOPED_CAPABILITY inside {
   public:
    explicit inside(runtime &of) ACQUIRE(of.mutex_) : of_{of} { of.mutex_.lock(); }
    inside(const inside &) = delete;
    inside &operator=(const inside &) = delete;
    ~inside() RELEASE() NO_THREAD_SAFETY_ANALYSIS { of_.leave(); }

   private:
    runtime &of_;
  };
  class SCOPED_CAPABILITY outside {
   public:
    explicit outside(runtime &of) RELEASE(of.mutex_) : of_{of} { of.leave(); }
    outside(const outside &) = delete;
    outside &operator=(const outside &) = delete;
    ~outside() RELEASE() NO_THREAD_SAFETY_ANALYSIS { of_.mutex_.lock(); }

   private:
    runtime &of_;
  };

  std::error_code carry_out_sectors(request &wanted, bool has_locked_them) EXCLUDES(mutex_);
  std::error_code carry_out_bytes(const request &wanted) EXCLUDES(mutex_);
  void hold(std::optional<sectors> wanted, std::optional<sectors> &held) EXCLUDES(mutex_);

  template <typename Question> result<> ask(Question question) EXCLUDES(mutex_);
  asker *take_asker() REQUIRES(mutex_);
  bool wait_for_answer(asker &self) REQUIRES(mutex_);
  void carry_out_and_tell(engine_io &io) REQUIRES(mutex_);
  void hand_out() REQUIRES(mutex_);
  void let_know(asker &told) REQUIRES(mutex_);
  void leave() RELEASE(mutex_);

  void tell_failed(const engine_io &io, std::error_code error) EXCLUDES(mutex_, telling_);
  void tell_cut_files() EXCLUDES(mutex_, telling_);
  template <typename Choice> void tell_some(Choice choose) EXCLUDES(mutex_, telling_);

  void work(bool prefers_background) EXCLUDES(mutex_);
  void keep_time() EXCLUDES(mutex_);
  void stop_threads() EXCLUDES(mutex_);
  void end() EXCLUDES(mutex_);

  // A thread takes them in this order. None is held during I/O on behalf of the engine, and none
  // but closing_ while tell_ is called.
  mutex closing_ ACQUIRED_BEFORE(mutex_);
  mutex mutex_ ACQUIRED_BEFORE(telling_);
  mutex telling_;

  std::optional<result<>> closed_ GUARDED_BY(closing_);

  // None after close(). I/O of the engine's ends before that, so it uses the files without the lock.
  // All others copy this pointer while they hold the lock.
  std::shared_ptr<blocking_files> files_;

  std::unique_ptr<cache_engine> engine_ PT_GUARDED_BY(mutex_);
  waiting_io for_workers_ GUARDED_BY(mutex_);
  intrusive_queue<asker> to_be_woken_ GUARDED_BY(mutex_); // when the lock is released
  intrusive_queue<asker> free_askers_ GUARDED_BY(mutex_);
  std::vector<std::unique_ptr<asker>> askers_ GUARDED_BY(mutex_);
  sector_locks locked_sectors_ GUARDED_BY(mutex_);
  bool is_stopping_ GUARDED_BY(mutex_) = false;
  bool is_over_ GUARDED_BY(mutex_) = false; // nobody enters the engine any more, or waits for it

  condition work_arrived_;
  condition time_stops_;
  condition sector_unlocked_;
  std::vector<std::thread> threads_;

  request_recorder recorder_;

  const trouble_handler tell_;
  trouble_log troubles_ GUARDED_BY(telling_);

  const bytes origin_size_;
};

// These threads take no signals.
result<> runtime::start() {
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  result<> outcome;
  try {
    for (unsigned i = 0; i < nr_workers; ++i) {
      threads_.emplace_back([this, i] { work(i == 0); });
    }
    threads_.emplace_back([this] { keep_time(); });
  } catch (const std::system_error &failed) {
    outcome = fail(failure::environment, fmt::format("can't start threads: {}", failed.what()));
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return outcome;
}

void runtime::stop_threads() {
  {
    const mutex_guard stopping{mutex_};
    is_stopping_ = true;
  }
  work_arrived_.notify_all();
  time_stops_.notify_all();
  for (std::thread &each : threads_) {
    each.join();
  }
  threads_.clear();
}

std::error_code runtime::carry_out(request &wanted) {
  if (recorder_.is_on()) [[unlikely]] {
    recorder_.note(wanted);
  }
  if (is_of_sectors(wanted)) [[likely]] { // as a flush is
    return carry_out_sectors(wanted, false);
  }
  try {
    return carry_out_bytes(wanted);
  } catch (const std::bad_alloc &) {
    return no_memory();
  }
}

// Throws std::bad_alloc.
std::error_code runtime::carry_out_bytes(const request &wanted) {
  byte_request asked{wanted, origin_size_};
  std::optional<sectors> held;
  while (request *const step = asked.next()) {
    hold(asked.locked(), held);
    asked.ended(carry_out_sectors(*step, held.has_value()));
  }
  hold({}, held);
  return asked.outcome();
}

// Unlocks the sector that the caller holds, unless it is wanted, and waits for the one that is.
void runtime::hold(std::optional<sectors> wanted, std::optional<sectors> &held) {
  const mutex_guard changing{mutex_};
  if (held && held != wanted) {
    locked_sectors_.unlock(*held);
    held.reset();
    sector_unlocked_.notify_all();
  }
  if (wanted && !held) {
    while (locked_sectors_.is_locked(*wanted)) {
      sector_unlocked_.wait(mutex_);
    }
    locked_sectors_.lock(*wanted);
    held = wanted;
  }
}

// Before a write, waits until none of its sectors is locked, unless the caller has locked all of them.
std::error_code runtime::carry_out_sectors(request &wanted, bool has_locked_them) {
  const inside entered{*this};
  while (!has_locked_them && locked_sectors_.are_in_the_way_of(wanted)) [[unlikely]] {
    sector_unlocked_.wait(mutex_);
  }
  if (is_over_) [[unlikely]] {
    return std::make_error_code(std::errc::no_such_device);
  }
  asker *const self = take_asker();
  if (self == nullptr) {
    return no_memory();
  }
  wanted.client = self;
  engine_->submit(wanted);
  return wait_for_answer(*self) ? wanted.outcome : std::make_error_code(std::errc::no_such_device);
}

// Null: there is no memory for another one. Nothing that is asked allocates anything after this.
asker *runtime::take_asker() {
  if (free_askers_.empty()) {
    try {
      askers_.push_back(std::make_unique<asker>());
    } catch (const std::bad_alloc &) {
      return nullptr;
    }
    free_askers_.push(*askers_.back());
  }
  asker *const taken = free_askers_.pop();
  taken->is_answered = false;
  return taken;
}

// Carries out the I/O that the engine gives `self` to do until the engine has answered. False if it
// never will.
bool runtime::wait_for_answer(asker &self) {
  hand_out();
  for (;;) {
    if (engine_io *io = self.own_io.pop()) {
      carry_out_and_tell(*io);
    } else if (self.is_answered || is_over_) {
      break;
    } else if (engine_io *read = for_workers_.take_read()) {
      carry_out_and_tell(*read); // the answer may depend on this one
    } else {
      self.is_asleep = true;
      const outside waiting{*this};
      self.awake.acquire();
    }
  }
  free_askers_.push(self);
  return self.is_answered;
}

void runtime::carry_out_and_tell(engine_io &io) {
  std::error_code error;
  {
    const outside working{*this};
    error = files_->carry_out(io);
    if (error) [[unlikely]] {
      tell_failed(io, error); // before a client hears of it and looks for the reason in the log
    }
  }
  engine_->io_done(io, error);
  hand_out();
}

// Takes from the engine what it has for threads, and gives it to them.
void runtime::hand_out() {
  while (engine_io *io = engine_->next_io()) {
    if (io->first_piece != nullptr) [[likely]] {
      auto &owner = *static_cast<asker *>(io->first_piece->of->client);
      owner.own_io.push(*io);
      let_know(owner);
    } else {
      for_workers_.push(*io);
    }
  }
  while (request *done = engine_->next_completed()) {
    auto &owner = *static_cast<asker *>(done->client);
    owner.is_answered = true;
    let_know(owner);
  }
  while (control *done = engine_->next_finished()) {
    auto &owner = *static_cast<asker *>(done->client);
    owner.is_answered = true;
    let_know(owner);
  }
}

void runtime::let_know(asker &told) {
  if (told.is_asleep) {
    told.is_asleep = false;
    to_be_woken_.push(told);
  }
}

// Releases the lock, and then wakes those for whom there is something.
void runtime::leave() {
  auto woken = to_be_woken_.take_all();
  const unsigned nr_for_workers = for_workers_.take_nr_untold();
  mutex_.unlock();
  while (asker *each = woken.pop()) {
    each->awake.release();
  }
  for (unsigned i = 0; i < std::min(nr_for_workers, nr_workers); ++i) {
    work_arrived_.notify_one();
  }
}

void runtime::work(bool prefers_background) {
  const inside entered{*this};
  while (!is_stopping_) {
    if (engine_io *io = for_workers_.take(prefers_background)) {
      carry_out_and_tell(*io);
    } else if (for_workers_.is_any_untold() || !to_be_woken_.empty()) {
      const outside waking{*this};
    } else {
      work_arrived_.wait(mutex_);
    }
  }
}

// No tick becomes due earlier while this thread sleeps: the engine reckons from the time of the
// last tick, and only a tick changes that.
void runtime::keep_time() {
  const inside entered{*this};
  while (!is_stopping_) {
    const instant due = engine_->next_tick();
    const instant now = present_time();
    if (now < due) {
      time_stops_.wait_for(mutex_, due - now);
    } else {
      engine_->tick(now);
      hand_out();
      const metadata_mode mode = engine_->state().mode_of_metadata;
      const outside telling{*this};
      tell_some([&](trouble_log &log) { return log.due(mode, now); });
      tell_cut_files();
    }
  }
}

void runtime::tell_failed(const engine_io &io, std::error_code error) {
  tell_some([&](trouble_log &log) { return log.failed(io, error, present_time()); });
  tell_cut_files();
}

void runtime::tell_cut_files() {
  tell_some([&](trouble_log & /*log*/) { return files_->find_cut_ones(); });
}

// Tells the line, or the lines, that `choose` takes from the log.
template <typename Choice> void runtime::tell_some(Choice choose) {
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

// Calls `question` with the engine and a control, which the engine finishes.
template <typename Question> result<> runtime::ask(Question question) {
  const inside entered{*this};
  if (is_over_) {
    return is_shut_down();
  }
  asker *const self = take_asker();
  if (self == nullptr) {
    return fail(failure::environment, no_memory().message());
  }
  control wanted;
  wanted.client = self;
  question(*engine_, wanted);
  return wait_for_answer(*self) ? wanted.outcome : is_shut_down();
}

std::vector<origin_extent> runtime::extents(bytes offset, bytes length) {
  if (offset >= origin_size_) {
    return {};
  }
  const bytes end = offset + std::min(length.value(), origin_size_.value() - offset.value());
  std::vector<origin_extent> uncached;
  std::shared_ptr<const blocking_files> files;
  {
    const mutex_guard looking{mutex_};
    files = files_;
    uncached = uncached_extents(engine_->state(), offset, end);
  }
  return files ? holes_of(uncached, offset, files->of(cache_device::origin))
               : std::vector<origin_extent>{};
}

result<> runtime::clean(cache_engine::afterwards intended) {
  return ask([&](cache_engine &engine, control &wanted) { engine.clean(wanted, intended); });
}

result<> runtime::reload(options_change change) {
  return ask(
      [&](cache_engine &engine, control &wanted) { engine.reload(std::move(change), wanted); });
}

result<> runtime::message(std::vector<std::string> words) {
  return ask(
      [&](cache_engine &engine, control &wanted) { engine.message(std::move(words), wanted); });
}

result<> runtime::compare(std::span<compared_block> blocks, comparison_changes wanted) {
  return ask([&](cache_engine &engine, control &asked) { engine.compare(blocks, wanted, asked); });
}

result<> runtime::close() {
  const mutex_guard closing{closing_};
  if (!closed_) {
    if (threads_.empty()) {
      if (auto started = start(); !started) {
        return started;
      }
    }
    closed_ = ask([](cache_engine &engine, control &wanted) { engine.shut_down(wanted); });
    stop_threads();
    const metadata_mode mode = status().mode_of_metadata;
    tell_some([&](trouble_log &log) { return log.rest(mode); });
    tell_cut_files();
    if (*closed_ && files_->are_any_cut()) {
      closed_ = fail(failure::environment, "a device was made shorter while it was served: what it "
                                           "held beyond its end is lost");
    }
    end();
  }
  return *closed_;
}

// What was asked while the cache was shut down would never be answered, since no thread is left that
// does the engine's I/O.
void runtime::end() {
  const inside entered{*this};
  is_over_ = true;
  for (const auto &each : askers_) {
    let_know(*each);
  }
  files_.reset(); // and their locks
}

} // namespace

result<std::unique_ptr<threaded_runtime>> threaded_runtime::open(const cache_paths &paths,
                                                                 const engine_options &options,
                                                                 trouble_handler tell) {
  auto opened = opened_cache::open(
      paths, options.read_only ? access::read_only : access::read_write, data_io::page_cache);
  if (!opened) {
    return std::unexpected{opened.error()};
  }
  auto engine = opened->activate(*opened->metadata, options);
  if (!engine) {
    return std::unexpected{engine.error()};
  }
  return std::make_unique<runtime>(
      std::make_shared<blocking_files>(std::move(*opened)), std::move(*engine),
      tell ? std::move(tell) : [](const std::string &) {});
}

} // namespace dmcache
