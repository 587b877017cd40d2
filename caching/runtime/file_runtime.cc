#include "caching/runtime/file_runtime.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include <fmt/format.h>

#include "caching/runtime/present_time.h"

namespace dmcache {
namespace {

constexpr std::size_t queue_depth = 256;
// How many copies of blocks are begun in a round. To hand one to the kernel takes as long as many
// hits, which have to wait meanwhile.
constexpr int max_background = 2;
// How many requests are completed in a round, before I/O has its turn again.
constexpr int max_delivered = 256;

} // namespace

result<std::unique_ptr<file_runtime>> file_runtime::open(const cache_paths &paths,
                                                         const engine_options &options,
                                                         completion_handler on_completed) {
  auto opened = opened_cache::open(
      paths, options.read_only ? access::read_only : access::read_write, data_io::direct);
  if (!opened) {
    return std::unexpected{opened.error()};
  }
  auto requests = std::make_unique<file_requests>(queue_depth);
  if (const auto failed = requests->allow_wake()) {
    return fail(
        failure::environment,
        fmt::format("no event for waking: {}: raise the limit of open files", failed.message()));
  }
  auto engine = opened->activate(*opened->metadata, options);
  if (!engine) {
    return std::unexpected{engine.error()};
  }
  return std::unique_ptr<file_runtime>{new file_runtime{
      std::move(*opened), std::move(*engine), std::move(requests), std::move(on_completed)}};
}

file_runtime::file_runtime(opened_cache cache, std::unique_ptr<cache_engine> engine,
                           std::unique_ptr<file_requests> requests, completion_handler on_completed)
    : cache_{std::move(cache)},
      file_{&cache_.files.metadata, &cache_.files.fast, &cache_.files.origin},
      engine_{std::move(engine)}, on_completed_{std::move(on_completed)},
      requests_{std::move(requests)} {}

// What the kernel would refuse must not reach the engine, which would take it for a failing device.
void file_runtime::submit(request &arrived) {
  const auto address = reinterpret_cast<std::uintptr_t>(arrived.data.data());
  if (((arrived.offset.value() | arrived.length.value() | address) & (cache_.granularity - 1)) != 0)
      [[unlikely]] {
    arrived.outcome = std::make_error_code(std::errc::invalid_argument);
    refused_.push(arrived);
    return;
  }
  engine_->submit(arrived);
}

void file_runtime::run_once(std::optional<std::chrono::nanoseconds> limit) {
  bool has_delivered = deliver();
  hand_over();
  const instant now = present_time();
  instant until_due = engine_->next_tick() - now;
  if (until_due <= instant{0}) [[unlikely]] {
    engine_->tick(now);
    has_delivered |= deliver();
    hand_over();
    until_due = std::max(engine_->next_tick() - now, instant{0});
  }
  // The caller may be waiting for one of the requests that were delivered just now.
  if (has_delivered || (!background_.empty() && requests_->has_room())) {
    until_due = instant{0};
  }
  requests_->wait(limit ? std::min(*limit, until_due) : until_due);
  deliver();
}

// An I/O for which the queue has no room stays with the engine.
void file_runtime::hand_over() {
  while (requests_->has_room()) {
    engine_io *next = engine_->next_io();
    if (next == nullptr) {
      break;
    }
    if (next->is_background) [[unlikely]] {
      background_.push(*next);
    } else {
      issue(*next);
    }
  }
  if (!background_.empty()) [[unlikely]] {
    for (int i = 0; i < max_background && !background_.empty() && requests_->has_room(); ++i) {
      issue(*background_.pop());
    }
  }
}

void file_runtime::issue(engine_io &io) {
  const opened_file &on = *file_[static_cast<std::size_t>(io.on)];
  const io_request request{io.op,      on.begin + io.offset.value(),          io.data,
                           this,       reinterpret_cast<std::uintptr_t>(&io), io.length,
                           io.may_trim};
  if (!on.holds(io.offset, length_of(request))) [[unlikely]] {
    engine_->io_done(io, std::make_error_code(std::errc::io_error));
    return;
  }
  if (io.on == cache_device::origin) [[unlikely]] {
    io.begun = present_time();
  }
  requests_->add(on.file.get(), request);
}

void file_runtime::io_done(std::uint64_t tag, std::error_code error) {
  auto *const done = reinterpret_cast<engine_io *>(tag); // NOLINT(*-int-to-ptr): see issue()
  if (done->on == cache_device::origin) [[unlikely]] {
    done->ended = present_time();
  }
  engine_->io_done(*done, error);
}

// Passes on the requests that are completed. The value says whether there were any.
bool file_runtime::deliver() {
  for (int i = 0; i < max_delivered; ++i) {
    request *next = refused_.empty() ? engine_->next_completed() : refused_.pop();
    if (next == nullptr) {
      return i > 0;
    }
    on_completed_(*next);
  }
  return true;
}

template <typename Start> result<> file_runtime::run_control(Start start) {
  control wanted;
  start(wanted);
  run_until([&] { return engine_->next_finished() == &wanted; });
  return wanted.outcome;
}

result<> file_runtime::clean() {
  return run_control([&](control &wanted) { engine_->clean(wanted); });
}

result<> file_runtime::reload(options_change change) {
  return run_control([&](control &wanted) { engine_->reload(std::move(change), wanted); });
}

result<> file_runtime::message(std::vector<std::string> words) {
  return run_control([&](control &wanted) { engine_->message(std::move(words), wanted); });
}

result<> file_runtime::close() {
  return run_control([&](control &wanted) { engine_->shut_down(wanted); });
}

} // namespace dmcache
