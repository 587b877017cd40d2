// What is asked of the cache of a world as a whole.
#include <utility>

#include "caching/simulation/world.h"

namespace dmcache {

world::client_control &world::begin_control() {
  client_control &added = controls_.emplace_back();
  added.inner.client = &added;
  ++nr_controls_;
  return added;
}

result<> world::finish(client_control &call) {
  pump();
  while (!call.is_done) {
    if (!step()) {
      return fail(failure::environment, violation_.value_or("the cache is down"));
    }
  }
  return call.inner.outcome;
}

result<> world::clean(cache_engine::afterwards intended) {
  begin_clean(intended);
  return finish(controls_.back());
}

result<> world::reload(const engine_options &how) {
  begin_reload(how);
  return finish(controls_.back());
}

result<> world::message(const std::vector<std::string> &words) {
  begin_message(words);
  return finish(controls_.back());
}

void world::begin_clean(cache_engine::afterwards intended) {
  const bool is_to_stay_clean = intended == cache_engine::afterwards::kept_clean;
  note("clean{}", is_to_stay_clean ? ", and keep clean" : "");
  client_control &added = begin_control();
  added.is_clean = true;
  added.is_to_stay_clean = is_to_stay_clean;
  ++nr_cleans_;
  nr_keeping_clean_ += is_to_stay_clean ? 1U : 0U;
  enter([&] { engine_->clean(added.inner, intended); });
  pump();
}

void world::begin_reload(const engine_options &how) {
  note("reload: mode {}, policy {}", static_cast<int>(how.mode), how.policy);
  client_control &added = begin_control();
  added.is_reload = true;
  ++nr_reloads_;
  ++nr_reloads_begun_;
  options_change change = [how](engine_options &options) { options = how; };
  enter([&] { engine_->reload(std::move(change), added.inner); });
  pump();
}

void world::send_message(std::vector<std::string> words, client_control &call) {
  enter([&] { engine_->message(std::move(words), call.inner); });
  pump();
}

void world::begin_message(const std::vector<std::string> &words) {
  note("message {}", fmt::join(words, " "));
  send_message(words, begin_control());
}

void world::begin_invalidate(cache_block begin, cache_block end) {
  note("invalidate cache blocks {}-{}", begin, end);
  client_control &added = begin_control();
  added.invalidated_begin = begin;
  added.invalidated_end = end;
  send_message({"invalidate_cblocks", fmt::format("{}-{}", begin, end)}, added);
}

void world::begin_compare(const std::vector<origin_block> &blocks, comparison_changes wanted) {
  note("compare {} blocks{}{}", blocks.size(), wanted.clears_equal ? ", clear equal ones" : "",
       wanted.drops_stale ? ", drop stale ones" : "");
  client_control &added = begin_control();
  added.reloads_before = nr_reloads_begun_;
  for (const origin_block each : blocks) {
    added.compared.push_back({.block = each});
  }
  enter([&] { engine_->compare(added.compared, wanted, added.inner); });
  pump();
}

result<std::vector<compared_block>> world::compare(const std::vector<origin_block> &blocks,
                                                   comparison_changes wanted) {
  begin_compare(blocks, wanted);
  client_control &call = controls_.back();
  if (auto done = finish(call); !done) {
    return std::unexpected{done.error()};
  }
  return call.compared;
}

void world::finished(client_control &call) {
  if (std::exchange(call.is_done, true)) {
    violate("a control finished twice");
  }
  --nr_controls_;
  // Before this ended, other options may have been in force.
  max_dirty_ = ~std::uint64_t{0};
  is_background_over_ = false;
  nr_cleans_ -= call.is_clean ? 1U : 0U;
  nr_keeping_clean_ -= call.is_to_stay_clean && !call.inner.outcome ? 1U : 0U;
  if (call.is_reload && --nr_reloads_ == 0) {
    for (client_request *each : std::exchange(waiting_, {})) {
      let_in(*each);
    }
  }
  if (const auto fault = fault_of_comparison(call)) {
    violate(*fault);
  }
  for (cache_block at = call.invalidated_begin; call.inner.outcome && at < call.invalidated_end;
       ++at) {
    if (engine_->state().mappings->is_mapped(at)) {
      violate(fmt::format("cache block {} is said to be invalidated, but mapped", at));
    }
  }
}

void world::begin_shut_down() {
  note("shut down");
  is_shutting_down_ = true;
  client_control &added = begin_control();
  enter([&] { engine_->shut_down(added.inner); });
  pump();
}

result<> world::shut_down() {
  begin_shut_down();
  client_control &ending = controls_.back();
  const std::uint64_t failures = nr_failed();
  const auto outcome = finish(ending);
  if (is_over() || is_down()) {
    return outcome;
  }
  finish();
  if (nr_under_way_ != 0 || nr_controls_ != 0 || !carrier_.empty()) {
    violate("after a shutdown something is under way");
  }
  if (!outcome && nr_failed() == failures && !has_failed_flush_ &&
      engine_->state().mode_of_metadata == metadata_mode::write) {
    violate("a shutdown failed without a reason: " + outcome.error().message);
  }
  for (const auto &each : devices_) {
    each->clear_faults();
  }
  if (outcome && untold_loss_) {
    violate("a shutdown succeeded, though something was lost by a flush that failed");
  }
  if (outcome) {
    ++totals_.shutdowns;
    compare_shutdown(engine_->state());
  }
  stop();
  return outcome;
}

} // namespace dmcache
