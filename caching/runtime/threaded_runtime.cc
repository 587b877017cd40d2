#include "caching/runtime/threaded_runtime.h"

#include <algorithm>
#include <array>
#include <csignal>
#include <new>
#include <optional>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "caching/engine/byte_request.h"
#include "caching/runtime/engine_threads.h"
#include "caching/runtime/present_time.h"

namespace dmcache {
namespace {

constexpr unsigned nr_workers = 8; // up to three of them may be flushing, one for each device

std::error_code no_memory() {
  return std::make_error_code(std::errc::not_enough_memory);
}

} // namespace

// These threads take no signals.
result<> engine_threads::start() {
  {
    const mutex_guard starting{mutex_};
    is_stopping_ = false;
  }
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

void engine_threads::stop_threads() {
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

std::error_code engine_threads::carry_out(request &wanted) {
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
std::error_code engine_threads::carry_out_bytes(const request &wanted) {
  byte_request asked{wanted, origin_size()};
  std::optional<sectors> held;
  while (request *const step = asked.next()) {
    exchange_lock(asked.locked(), held);
    asked.ended(carry_out_sectors(*step, held.has_value()));
  }
  exchange_lock({}, held);
  return asked.outcome();
}

// Unlocks the sector that the caller holds, unless it is wanted, and waits for the one that is.
void engine_threads::exchange_lock(std::optional<sectors> wanted, std::optional<sectors> &held) {
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
std::error_code engine_threads::carry_out_sectors(request &wanted, bool has_locked_them) {
  const inside entered{*this};
  while (entrance_ == entrance::held ||
         (!has_locked_them && locked_sectors_.are_in_the_way_of(wanted))) [[unlikely]] {
    (entrance_ == entrance::held ? let_in_ : sector_unlocked_).wait(mutex_);
  }
  if (entrance_ == entrance::closed) [[unlikely]] {
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
asker *engine_threads::take_asker() {
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
  ++nr_asking_;
  return taken;
}

// Carries out the I/O that the engine gives `self` to do until the engine has answered. False if it
// never will.
bool engine_threads::wait_for_answer(asker &self) {
  hand_out();
  for (;;) {
    if (engine_io *io = self.own_io.pop()) {
      carry_out_and_tell(*io);
    } else if (self.is_answered || entrance_ == entrance::closed) {
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
  if (--nr_asking_ == 0 && entrance_ == entrance::held) [[unlikely]] {
    all_answered_.notify_all();
  }
  return self.is_answered;
}

void engine_threads::carry_out_and_tell(engine_io &io) {
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
void engine_threads::hand_out() {
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

void engine_threads::let_know(asker &told) {
  if (told.is_asleep) {
    told.is_asleep = false;
    to_be_woken_.push(told);
  }
}

// Releases the lock, and then wakes those for whom there is something.
void engine_threads::leave() {
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

void engine_threads::work(bool prefers_background) {
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
void engine_threads::keep_time() {
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
      const auto files = files_;
      const outside telling{*this};
      tell_some([&](trouble_log &log) { return log.due(mode, now); });
      tell_cut_files(*files);
    }
  }
}

void engine_threads::tell_failed(const engine_io &io, std::error_code error) {
  tell_some([&](trouble_log &log) { return log.failed(io, error, present_time()); });
  tell_cut_files(*files_);
}

void engine_threads::tell_cut_files(blocking_files &among) {
  tell_some([&](trouble_log & /*log*/) { return among.find_cut_ones(); });
}

std::vector<origin_extent> engine_threads::extents(bytes offset, bytes length) {
  const bytes size = origin_size_;
  if (offset >= size) {
    return {};
  }
  const bytes end = offset + std::min(length.value(), size.value() - offset.value());
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

engine_status engine_threads::status() {
  const mutex_guard looking{mutex_};
  engine_status now = engine_->status();
  now.counts += earlier_counts_;
  return now;
}

result<> engine_threads::clean(cache_engine::afterwards intended) {
  return ask([&](cache_engine &engine, control &wanted) { engine.clean(wanted, intended); });
}

result<> engine_threads::reload(options_change change) {
  return ask(
      [&](cache_engine &engine, control &wanted) { engine.reload(std::move(change), wanted); });
}

result<> engine_threads::message(std::vector<std::string> words) {
  return ask(
      [&](cache_engine &engine, control &wanted) { engine.message(std::move(words), wanted); });
}

result<> engine_threads::compare(std::span<compared_block> blocks, comparison_changes wanted) {
  return ask([&](cache_engine &engine, control &asked) { engine.compare(blocks, wanted, asked); });
}

result<> engine_threads::close() {
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
    tell_cut_files(*files_);
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
void engine_threads::end() {
  const inside entered{*this};
  entrance_ = entrance::closed;
  for (const auto &each : askers_) {
    let_know(*each);
  }
  files_.reset(); // and their locks
  let_in_.notify_all();
}

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
  return std::make_unique<engine_threads>(
      paths, std::make_shared<blocking_files>(std::move(*opened)), std::move(*engine),
      tell ? std::move(tell) : [](const std::string &) {});
}

} // namespace dmcache
