// Exchanges the engine for one on larger devices, while clients wait.
//
// At each instant a process that dies here leaves what one leaves that is stopped and started: the
// engine is shut down before another one opens the metadata, and nobody enters either in between.
#include <exception>

#include <fmt/format.h>

#include "caching/runtime/device_growth.h"
#include "caching/runtime/engine_threads.h"
#include "caching/runtime/present_time.h"

namespace dmcache {

result<std::string> engine_threads::resize(const std::function<result<>()> &announce) {
  const mutex_guard closing{closing_};
  if (closed_) {
    return is_shut_down();
  }
  tell_cut_files(*files_);
  auto grown = files_->measured_again(paths_);
  if (!grown) {
    return std::unexpected{grown.error()};
  }
  auto growth = growth_of(paths_, *files_, *grown, status());
  if (!growth) {
    return std::unexpected{growth.error()};
  }
  if (!growth->is_any) {
    return std::move(growth->in_words);
  }
  auto as_before = files_->opened_again(paths_);
  if (!as_before) {
    return std::unexpected{as_before.error()};
  }
  auto done = announce();
  done = done ? hold() : done;
  done = done ? exchange_engine(std::move(*grown), std::move(*as_before)) : done;
  return done ? result<std::string>{std::move(growth->in_words)} : std::unexpected{done.error()};
}

// Waits for what was asked. Who comes from now on waits as well.
result<> engine_threads::hold() {
  const mutex_guard holding{mutex_};
  if (nr_controls_ != 0 || engine_->state().nr_keeping_clean != 0) {
    return fail(failure::failed, "the cache is being cleaned, compared, changed or stopped: try "
                                 "again when that is done");
  }
  if (engine_->state().flushes.has_ever_failed()) {
    return fail(failure::failed, "a device couldn't be flushed, so that the cache can't be shut "
                                 "down cleanly: mend the cause, and stop and start the cache");
  }
  asker *const for_shutdown = take_asker(); // which needs no memory then
  if (for_shutdown == nullptr) {
    return fail(failure::environment, std::make_error_code(std::errc::not_enough_memory).message());
  }
  free_askers_.push(*for_shutdown);
  --nr_asking_;
  entrance_ = entrance::held;
  while (nr_asking_ != 0) {
    all_answered_.wait(mutex_);
  }
  return {};
}

result<> engine_threads::shut_engine_down() {
  const inside entered{*this};
  return put([](cache_engine &engine, control &wanted) { engine.shut_down(wanted); });
}

// Without memory for the little that this needs itself, the process ends, which whoever has started
// it can do something about.
result<> engine_threads::exchange_engine(opened_cache grown, opened_cache as_before) noexcept {
  engine_options in_force = options();
  in_force.may_format = false;
  in_force.accepted.resized = true;
  // Nobody else could use the devices since they were opened: they are the right ones, whatever
  // clients have written there.
  in_force.accepted.differing = true;
  in_force.accepted.image = true;
  result<> resized = shut_engine_down();
  stop_threads(); // the engine that is left must not do anything any more
  auto opened =
      resized ? open_engine(std::move(grown), in_force) : std::unexpected{resized.error()};
  if (!opened) {
    resized = std::unexpected{opened.error()};
    opened = open_engine(std::move(as_before), in_force);
  }
  const result<> serves = opened ? go_on_with(std::move(*opened)) : std::unexpected{opened.error()};
  if (!serves) {
    const metadata_mode mode = status().mode_of_metadata;
    tell_some([&](trouble_log &log) { return log.rest(mode); });
    closed_ =
        fail(serves.error().kind,
             fmt::format("{}{}: the cache was shut down to be resized, and can't be opened again",
                         resized ? "" : resized.error().message + "; ", serves.error().message));
    end();
    return *closed_;
  }
  return resized ? resized
                 : fail(resized.error().kind, fmt::format("not resized, and served as before: {}",
                                                          resized.error().message));
}

result<engine_threads::opened_engine> engine_threads::open_engine(opened_cache on,
                                                                  const engine_options &options) {
  try {
    auto engine = on.activate(*on.metadata, options);
    if (!engine) {
      return std::unexpected{engine.error()};
    }
    return opened_engine{std::make_shared<blocking_files>(std::move(on)), std::move(*engine)};
  } catch (const std::exception &unexpected) { // out of memory
    return fail(failure::environment, unexpected.what());
  }
}

result<> engine_threads::go_on_with(opened_engine opened) {
  {
    const mutex_guard exchanging{mutex_};
    for_workers_ = {}; // of the engine before: nobody waits for that
    earlier_counts_ += engine_->counts();
    std::swap(engine_, opened.engine);
    std::swap(files_, opened.files);
    origin_size_ = engine_->state().origin_size;
  }
  opened.engine.reset(); // the one before, without the lock
  opened.files.reset();
  if (auto started = start(); !started) {
    stop_threads();
    return started;
  }
  {
    const mutex_guard opening{mutex_};
    entrance_ = entrance::open;
  }
  let_in_.notify_all();
  return {};
}

} // namespace dmcache
