#include "caching/runtime/file_runtime.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include <fmt/format.h>

#include "base/file_device.h"

namespace dmcache {
namespace {

constexpr std::size_t queue_depth = 256;
// So many copies of blocks are begun in a round: to hand one to the kernel takes as long as many
// hits, which would have to wait for all of them.
constexpr int max_background = 2;
// So many requests are completed in a round; others have their turn after it.
constexpr int max_delivered = 256;

instant present_time() {
  return std::chrono::steady_clock::now().time_since_epoch();
}

// What can be used of a device when I/O is done in such blocks.
sectors usable_size(const opened_file &file, std::size_t logical_block_size) {
  return sectors{file.size.value() / logical_block_size * logical_block_size / sector_size};
}

} // namespace

result<std::unique_ptr<file_runtime>> file_runtime::open(const cache_paths &paths,
                                                         const engine_options &options,
                                                         completion_handler on_completed) {
  auto files = open_cache_files(paths, options.read_only ? access::read_only : access::read_write);
  if (!files) {
    return std::unexpected{files.error()};
  }
  auto requests = file_requests::make(queue_depth);
  const auto failed = requests ? (*requests)->allow_wake() : requests.error();
  if (failed) {
    return fail(failure::environment,
                fmt::format("no asynchronous I/O: {}: raise fs.aio-max-nr", failed.message()));
  }
  auto metadata =
      make_file_device({files->metadata.duplicate(), files->metadata.size}, paths.metadata);
  if (!metadata) {
    return std::unexpected{metadata.error()};
  }
  const std::size_t block_size =
      std::max(files->fast.logical_block_size(), files->origin.logical_block_size());
  auto engine = cache_engine::open({.metadata = **metadata,
                                    .fast_size = usable_size(files->fast, block_size),
                                    .origin_size = usable_size(files->origin, block_size),
                                    .origin_can_discard = files->origin.can_discard()},
                                   options, present_time());
  if (!engine) {
    return std::unexpected{engine.error()};
  }
  return std::unique_ptr<file_runtime>{new file_runtime{std::move(*files), std::move(*metadata),
                                                        std::move(*engine), std::move(*requests),
                                                        block_size, std::move(on_completed)}};
}

file_runtime::file_runtime(cache_files files, std::unique_ptr<device> metadata,
                           std::unique_ptr<cache_engine> engine,
                           std::unique_ptr<file_requests> requests, std::size_t block_size,
                           completion_handler on_completed)
    : files_{std::move(files)}, file_{files_.metadata.file.get(), files_.fast.file.get(),
                                      files_.origin.file.get()},
      logical_block_size_{block_size}, metadata_{std::move(metadata)}, engine_{std::move(engine)},
      on_completed_{std::move(on_completed)}, requests_{std::move(requests)} {}

// What the kernel would refuse the engine must not see: it would take it for a failing device.
void file_runtime::submit(request &which) {
  const auto address = reinterpret_cast<std::uintptr_t>(which.data.data());
  if (((which.offset.value() | which.length.value() | address) & (logical_block_size_ - 1)) != 0)
      [[unlikely]] {
    which.outcome = std::make_error_code(std::errc::invalid_argument);
    refused_.push(which);
    return;
  }
  engine_->submit(which);
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
  // What was delivered now may be what the caller waits for.
  if (has_delivered || (!background_.empty() && requests_->has_room())) {
    until_due = instant{0};
  }
  requests_->wait(limit ? std::min(*limit, until_due) : until_due);
  deliver();
}

// What finds no room stays with the engine.
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

void file_runtime::issue(engine_io &what) {
  requests_->add(file_[static_cast<std::size_t>(what.on)],
                 {what.op, what.offset, what.data, this, reinterpret_cast<std::uintptr_t>(&what),
                  what.length, what.may_trim});
}

void file_runtime::io_done(std::uint64_t tag, std::error_code error) {
  auto *const done = reinterpret_cast<engine_io *>(tag); // NOLINT(*-int-to-ptr): see issue()
  engine_->io_done(*done, error);
}

// Was there anything?
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
  control which;
  start(which);
  run_until([&] { return engine_->next_finished() == &which; });
  return which.outcome;
}

result<> file_runtime::clean() {
  return run_control([&](control &which) { engine_->clean(which); });
}

result<> file_runtime::reload(options_change change) {
  return run_control([&](control &which) { engine_->reload(std::move(change), which); });
}

result<> file_runtime::message(std::vector<std::string> words) {
  return run_control([&](control &which) { engine_->message(std::move(words), which); });
}

result<> file_runtime::close() {
  return run_control([&](control &which) { engine_->shut_down(which); });
}

} // namespace dmcache
