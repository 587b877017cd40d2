#include "caching/runtime/threaded_runtime.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <mutex>
#include <optional>
#include <semaphore>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "base/blocking_file.h"
#include "base/file_device.h"
#include "caching/runtime/byte_requests.h"
#include "caching/runtime/trouble_log.h"

namespace dmcache {
namespace {

constexpr unsigned nr_workers = 8; // three of them may be flushing

instant present_time() {
  return std::chrono::steady_clock::now().time_since_epoch();
}

// A thread that has asked the engine for something. It is used again, never freed, so that who
// wakes it needn't know whether it is there still.
struct asker {
  intrusive_queue<engine_io> own_io; // of its request, for it to carry out
  bool is_answered = false;
  bool is_asleep = false; // until `awake` is released
  std::binary_semaphore awake{0};
  asker *next = nullptr;
};

// The files of a cache, as they are used by threads.
struct blocking_files {
  std::unique_ptr<device> metadata;  // as the engine knows it; it isn't used once that is open
  std::array<blocking_file, 3> file; // by cache_device

  const blocking_file &of(cache_device which) const {
    return file[static_cast<std::size_t>(which)];
  }

  std::error_code carry_out(const engine_io &io) const {
    const blocking_file &on = of(io.on);
    switch (io.op) {
    case engine_io::operation::read:
      return on.read(io.offset, io.data);
    case engine_io::operation::write:
      return on.write(io.offset, io.data);
    case engine_io::operation::flush:
      return on.flush();
    case engine_io::operation::discard:
      return on.discard(io.offset, io.length);
    case engine_io::operation::write_zeroes:
      return on.write_zeroes(io.offset, io.length, io.may_trim);
    case engine_io::operation::prefetch:
      break;
    }
    return std::make_error_code(std::errc::operation_not_supported);
  }
};

class runtime final : public threaded_runtime, private sector_requests {
 public:
  runtime(blocking_files files, std::unique_ptr<cache_engine> engine, trouble_handler tell)
      : files_{std::make_shared<blocking_files>(std::move(files))}, engine_{std::move(engine)},
        tell_{std::move(tell)}, origin_size_{engine_->state().origin_size} {}
  ~runtime() override { stop_threads(); }

  result<> start() override;
  std::error_code carry_out(request &which) override;
  std::vector<origin_extent> extents(bytes offset, bytes length) override;
  result<> clean() override;
  result<> reload(options_change change) override;
  result<> message(std::vector<std::string> words) override;
  engine_status status() override;
  engine_options options() override;
  result<> close() override;
  bytes origin_size() const override { return origin_size_; }

 private:
  using lock = std::unique_lock<std::mutex>;

  std::error_code carry_out_sectors(request &which, bool is_holder) override;
  void hold(sectors which) override;
  void let_go(sectors which) override;
  bool is_any_held(const request &which) const;

  template <typename Question> result<> ask(Question question);
  asker &take_asker();
  void wait_for_answer(asker &self, lock &inside);
  void carry_out_and_tell(engine_io &io, lock &inside);
  void hand_out();
  void let_know(asker &whose);
  void leave(lock &inside);

  void tell_failed(const engine_io &io, std::error_code error);
  template <typename Choice> void tell_some(Choice choose);

  void work();
  void keep_time();
  void stop_threads();

  // Until close(), which comes when the engine wants no more I/O. Who isn't sent by the engine
  // takes a share of them, with the lock.
  std::shared_ptr<const blocking_files> files_;

  std::mutex mutex_; // for what follows, the engine above all
  std::unique_ptr<cache_engine> engine_;
  intrusive_queue<engine_io> reads_for_workers_; // which requests may be waiting for
  intrusive_queue<engine_io> for_workers_;       // the rest
  unsigned nr_new_for_workers_ = 0;              // who aren't told yet
  intrusive_queue<asker> to_be_woken_;           // when the lock is released
  intrusive_queue<asker> free_askers_;
  std::vector<std::unique_ptr<asker>> askers_;
  std::vector<sectors> held_sectors_;
  bool is_stopping_ = false;

  std::condition_variable work_;
  std::condition_variable time_; // to stop
  std::condition_variable let_go_;
  std::vector<std::thread> threads_;

  const trouble_handler tell_; // called without any lock, but for closing_
  std::mutex telling_;         // after all others, for what follows
  trouble_log troubles_;

  std::mutex closing_; // before the first one above
  std::optional<result<>> closed_;
  const bytes origin_size_;
};

// No signal is for these threads.
result<> runtime::start() {
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  result<> outcome;
  try {
    for (unsigned i = 0; i < nr_workers; ++i) {
      threads_.emplace_back([this] { work(); });
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
    const std::scoped_lock inside{mutex_};
    is_stopping_ = true;
  }
  work_.notify_all();
  time_.notify_all();
  for (std::thread &each : threads_) {
    each.join();
  }
  threads_.clear();
}

std::error_code runtime::carry_out(request &which) {
  if (is_of_sectors(which)) [[likely]] { // as is a flush
    return carry_out_sectors(which, false);
  }
  return carry_out_bytes(which, *this);
}

std::error_code runtime::carry_out_sectors(request &which, bool is_holder) {
  lock inside{mutex_};
  while (!is_holder && is_any_held(which))
    [[unlikely]] {
      let_go_.wait(inside);
    }
  asker &self = take_asker();
  which.client = &self;
  engine_->submit(which);
  wait_for_answer(self, inside);
  return which.outcome;
}

bool runtime::is_any_held(const request &which) const {
  if (held_sectors_.empty() || !which.is_write() || which.op == request::operation::flush)
      [[likely]] {
    return false;
  }
  const std::uint64_t end = which.offset.value() + which.length.value();
  return std::ranges::any_of(held_sectors_, [&](sectors each) {
    const std::uint64_t at = to_bytes(each).value();
    return at < end && which.offset.value() < at + sector_size;
  });
}

void runtime::hold(sectors which) {
  lock inside{mutex_};
  while (std::ranges::count(held_sectors_, which) != 0) {
    let_go_.wait(inside);
  }
  held_sectors_.push_back(which);
}

void runtime::let_go(sectors which) {
  {
    const std::scoped_lock inside{mutex_};
    std::erase(held_sectors_, which);
  }
  let_go_.notify_all();
}

asker &runtime::take_asker() {
  if (free_askers_.empty()) {
    askers_.push_back(std::make_unique<asker>());
    free_askers_.push(*askers_.back());
  }
  asker &taken = *free_askers_.pop();
  taken.is_answered = false;
  return taken;
}

// Carries out what the engine gives `self` to do until it has its answer. Releases the lock.
void runtime::wait_for_answer(asker &self, lock &inside) {
  hand_out();
  for (;;) {
    if (engine_io *io = self.own_io.pop()) {
      carry_out_and_tell(*io, inside);
    } else if (self.is_answered) {
      break;
    } else if (engine_io *read = reads_for_workers_.pop()) {
      nr_new_for_workers_ -= std::min(nr_new_for_workers_, 1U);
      carry_out_and_tell(*read, inside); // it may be the one that this waits for
    } else {
      self.is_asleep = true;
      leave(inside);
      self.awake.acquire();
      inside.lock();
    }
  }
  free_askers_.push(self);
  leave(inside);
}

void runtime::carry_out_and_tell(engine_io &io, lock &inside) {
  leave(inside);
  const std::error_code error = files_->carry_out(io);
  if (error) [[unlikely]] {
    tell_failed(io, error); // before anybody hears of it who would look for the reason
  }
  inside.lock();
  engine_->io_done(io, error);
  hand_out();
}

// Gives what the engine wants and says to those whom it concerns.
void runtime::hand_out() {
  while (engine_io *io = engine_->next_io()) {
    if (io->first_piece != nullptr) [[likely]] {
      auto &whose = *static_cast<asker *>(io->first_piece->of->client);
      whose.own_io.push(*io);
      let_know(whose);
    } else {
      (io->op == engine_io::operation::read ? reads_for_workers_ : for_workers_).push(*io);
      ++nr_new_for_workers_;
    }
  }
  while (request *done = engine_->next_completed()) {
    auto &whose = *static_cast<asker *>(done->client);
    whose.is_answered = true;
    let_know(whose);
  }
  while (control *done = engine_->next_finished()) {
    auto &whose = *static_cast<asker *>(done->client);
    whose.is_answered = true;
    let_know(whose);
  }
}

void runtime::let_know(asker &whose) {
  if (whose.is_asleep) {
    whose.is_asleep = false;
    to_be_woken_.push(whose);
  }
}

// Releases the lock, and wakes whom there is something for.
void runtime::leave(lock &inside) {
  auto woken = to_be_woken_.take_all();
  const unsigned nr_for_workers = std::exchange(nr_new_for_workers_, 0);
  inside.unlock();
  while (asker *each = woken.pop()) {
    each->awake.release();
  }
  for (unsigned i = 0; i < std::min(nr_for_workers, nr_workers); ++i) {
    work_.notify_one();
  }
}

void runtime::work() {
  lock inside{mutex_};
  while (!is_stopping_) {
    engine_io *io = reads_for_workers_.pop();
    io = io != nullptr ? io : for_workers_.pop();
    if (io != nullptr) {
      // If it is new, this is who would have been told.
      nr_new_for_workers_ -= std::min(nr_new_for_workers_, 1U);
      carry_out_and_tell(*io, inside);
    } else if (nr_new_for_workers_ != 0 || !to_be_woken_.empty()) {
      leave(inside);
      inside.lock();
    } else {
      work_.wait(inside);
    }
  }
  leave(inside);
}

// What is due is never due earlier than it was when this fell asleep: only a tick moves the time
// from which the engine reckons.
void runtime::keep_time() {
  lock inside{mutex_};
  while (!is_stopping_) {
    const instant due = engine_->next_tick();
    const instant now = present_time();
    if (now < due) {
      time_.wait_for(inside, due - now);
    } else {
      engine_->tick(now);
      hand_out();
      const metadata_mode mode = engine_->state().mode_of_metadata;
      leave(inside);
      tell_some([&] { return troubles_.due(mode, now); });
      inside.lock();
    }
  }
}

void runtime::tell_failed(const engine_io &io, std::error_code error) {
  tell_some([&] { return troubles_.failed(io, error, present_time()); });
}

// The lines, or the one, that `choose` gives.
template <typename Choice> void runtime::tell_some(Choice choose) {
  std::unique_lock telling{telling_};
  const auto lines = choose();
  telling.unlock();
  for (const std::string &each : lines) {
    tell_(each);
  }
}

// Calls `question` with the engine and a control that it finishes.
template <typename Question> result<> runtime::ask(Question question) {
  lock inside{mutex_};
  asker &self = take_asker();
  control what;
  what.client = &self;
  question(*engine_, what);
  wait_for_answer(self, inside);
  return what.outcome;
}

std::vector<origin_extent> runtime::extents(bytes offset, bytes length) {
  std::vector<origin_extent> uncached;
  std::shared_ptr<const blocking_files> files;
  {
    const std::scoped_lock inside{mutex_};
    files = files_;
    uncached = uncached_extents(engine_->state(), offset, offset + length.value());
  }
  return files ? holes_of(uncached, offset, files->of(cache_device::origin))
               : std::vector<origin_extent>{};
}

result<> runtime::clean() {
  return ask([](cache_engine &engine, control &what) { engine.clean(what); });
}

result<> runtime::reload(options_change change) {
  return ask([&](cache_engine &engine, control &what) { engine.reload(std::move(change), what); });
}

result<> runtime::message(std::vector<std::string> words) {
  return ask([&](cache_engine &engine, control &what) { engine.message(std::move(words), what); });
}

engine_status runtime::status() {
  const std::scoped_lock inside{mutex_};
  return engine_->status();
}

engine_options runtime::options() {
  const std::scoped_lock inside{mutex_};
  return engine_->state().options;
}

result<> runtime::close() {
  const std::scoped_lock closing{closing_};
  if (!closed_) {
    if (threads_.empty()) {
      if (auto started = start(); !started) {
        return started;
      }
    }
    closed_ = ask([](cache_engine &engine, control &what) { engine.shut_down(what); });
    stop_threads();
    const metadata_mode mode = status().metadata_is;
    tell_some([&] { return troubles_.rest(mode); });
    const std::scoped_lock inside{mutex_};
    files_.reset(); // and their locks
  }
  return *closed_;
}

// Makes the open file one that is read and written through the page cache.
result<> use_page_cache(const opened_file &opened, const std::string &path) {
  const int flags = ::fcntl(opened.file.get(), F_GETFL);
  if (flags < 0 || ::fcntl(opened.file.get(), F_SETFL, flags & ~O_DIRECT) != 0) {
    return fail(failure::environment,
                fmt::format("{} can't be used through the page cache: {}", path,
                            std::error_code{errno, std::generic_category()}.message()));
  }
  return {};
}

sectors whole_sectors(bytes size) {
  return sectors{size.value() / sector_size};
}

} // namespace

result<std::unique_ptr<threaded_runtime>> threaded_runtime::open(const cache_paths &paths,
                                                                 const engine_options &options,
                                                                 trouble_handler tell) {
  auto files = open_cache_files(paths, options.read_only ? access::read_only : access::read_write);
  if (!files) {
    return std::unexpected{files.error()};
  }
  result<> usable = use_page_cache(files->fast, paths.fast);
  usable = usable ? use_page_cache(files->origin, paths.origin) : usable;
  if (!usable) {
    return std::unexpected{usable.error()};
  }
  file_descriptor metadata_again = files->metadata.duplicate();
  if (!metadata_again.is_open()) {
    return fail(failure::environment,
                fmt::format("{} can't be opened once more: {}", paths.metadata,
                            std::error_code{errno, std::generic_category()}.message()));
  }
  auto metadata = make_file_device(std::move(files->metadata), paths.metadata);
  if (!metadata) {
    return std::unexpected{metadata.error()};
  }
  auto engine = cache_engine::open({.metadata = **metadata,
                                    .fast_size = whole_sectors(files->fast.size),
                                    .origin_size = whole_sectors(files->origin.size),
                                    .origin_can_discard = files->origin.can_discard()},
                                   options, present_time());
  if (!engine) {
    return std::unexpected{engine.error()};
  }
  return std::make_unique<runtime>(
      blocking_files{std::move(*metadata),
                     {blocking_file{std::move(metadata_again)},
                      blocking_file{std::move(files->fast.file)},
                      blocking_file{std::move(files->origin.file)}}},
      std::move(*engine), tell ? std::move(tell) : [](const std::string &) {});
}

} // namespace dmcache
