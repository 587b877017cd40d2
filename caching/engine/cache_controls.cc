// What is asked of the engine as a whole: cleaning, reloading, messages, shutting down.
#include <algorithm>
#include <new>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "base/size_text.h"
#include "base/whole_number.h"
#include "caching/engine/cache_engine.h"

namespace dmcache {

void cache_engine::clean(control &call, afterwards intended) noexcept {
  start(do_clean(call, intended));
}

void cache_engine::reload(options_change change, control &call) noexcept {
  start(do_reload(std::move(change), call));
}

void cache_engine::message(std::vector<std::string> words, control &call) noexcept {
  start(do_message(std::move(words), call));
}

void cache_engine::compare(std::span<compared_block> blocks, comparison_changes wanted,
                           control &call) noexcept {
  start(do_compare(blocks, wanted, call));
}

void cache_engine::shut_down(control &call) noexcept {
  start(do_shut_down(call));
}

void cache_engine::start(flow<> call) {
  flows_.start(std::move(call));
  run();
}

std::uint64_t cache_engine::nr_failed_writebacks() const {
  return migrations_.so_far().failed_writebacks + commits_.so_far().unsettled;
}

flow<> cache_engine::do_clean(control &call, afterwards intended) {
  const unsigned keeping = intended == afterwards::kept_clean ? 1 : 0;
  state_.nr_keeping_clean += keeping;
  const std::string why = co_await write_back_all(false);
  result<> outcome;
  if (const std::uint64_t left = state_.mappings->nr_dirty(); left != 0) {
    state_.nr_keeping_clean -= keeping;
    outcome = fail(failure::failed, fmt::format("{} blocks are dirty still: {}", left, why));
  }
  finish(call, std::move(outcome));
}

// Until nothing is dirty, or a block could not be written back. Gives what was in the way, if
// anything is dirty still.
flow<std::string> cache_engine::write_back_all(bool is_for_shutdown) {
  const std::uint64_t failures = nr_failed_writebacks();
  const std::uint64_t unsettled = commits_.so_far().unsettled;
  ++nr_cleaning_;
  migrations_.clean(true);
  const auto is_any_dirty = [&] {
    return state_.mappings->nr_dirty() != 0 ||
           (state_.nr_keeping_clean != 0 && state_.nr_becoming_dirty != 0);
  };
  while (is_any_dirty() && nr_failed_writebacks() == failures && migrations_.may_write_back() &&
         (is_for_shutdown || !is_shut_down_)) {
    co_await something_ended_;
  }
  migrations_.clean(--nr_cleaning_ != 0);
  co_return is_shut_down_ && !is_for_shutdown ? "the cache is being shut down"
  : !migrations_.may_write_back()             ? "the metadata failed"
  : commits_.so_far().unsettled != unsettled  ? commits_.settling_failure()
                                              : migrations_.writeback_failure();
}

flow<> cache_engine::do_reload(options_change change, control &call) {
  pause();
  ++nr_reloading_;
  co_await wait_for_quiet();
  if (!is_shut_down_) {
    co_await commits_.commit(true); // what was written back becomes clean, or stays dirty
    co_await wait_for_quiet();      // and what that found to be unreliable leaves
  }
  result<> outcome = fail(failure::failed, "the cache is being shut down");
  if (!is_shut_down_) {
    engine_options options = state_.options; // with what others have changed while this waited
    change(options);
    if (options.mode == cache_mode::passthrough) { // whose next start will find nothing dirty
      co_await commits_.forget_notes();
    }
    outcome = change_options(std::move(options));
  }
  resume();
  --nr_reloading_;
  finish(call, std::move(outcome));
}

// Of the present policy, whose hints are the best that it can have.
result<std::unique_ptr<policy>> cache_engine::successor(const engine_options &options) const {
  try {
    lazy_array<le32> hints{state_.mappings->nr_cache_blocks()};
    for (std::uint64_t i = 0; i < hints.size(); ++i) {
      if (state_.mappings->is_mapped(cache_block{i})) {
        hints[i] = state_.policy->hint(cache_block{i});
      }
    }
    auto made = make_policy(options);
    if (made) {
      load(**made, std::move(hints), state_.policy->name(), state_.policy->version());
    }
    return made;
  } catch (const std::bad_alloc &) {
    return fail(failure::environment, "there is no memory for another policy");
  }
}

result<> cache_engine::change_options(engine_options options) {
  if (options.mode == cache_mode::passthrough && state_.mappings->nr_dirty() != 0) {
    return fail(
        failure::failed,
        fmt::format("passthrough needs a cache without dirty blocks, and {} are dirty: clean "
                    "it first",
                    state_.mappings->nr_dirty()));
  }
  auto made = successor(options);
  if (!made) {
    return std::unexpected{made.error()};
  }
  state_.policy = std::move(*made);
  state_.advisor->follow(*state_.policy);
  options.block_size = state_.options.block_size;
  options.metadata_version = state_.options.metadata_version;
  options.read_only = state_.options.read_only;
  options.tracking = state_.options.tracking;
  options.dirty_linger = state_.options.dirty_linger;
  state_.options = std::move(options);
  apply_dirty_limit();
  return {};
}

void cache_engine::apply_dirty_limit() {
  state_.max_dirty = state_.options.max_dirty.in_blocks(state_.mappings->nr_cache_blocks(),
                                                        state_.options.block_size);
}

// It takes turns with reloads: what one of them asks for must not end in another mode.
flow<> cache_engine::do_message(std::vector<std::string> words, control &call) {
  while (nr_pauses_ != 0 && !is_shut_down_) {
    co_await something_ended_;
  }
  if (is_shut_down_) {
    finish(call, fail(failure::failed, "the cache is being shut down"));
    co_return;
  }
  if (!migrations_.may_change_metadata()) {
    finish(call, fail(failure::failed, "messages are refused: the metadata can't be written"));
    co_return;
  }
  if (words.empty() || words.front() != "invalidate_cblocks") {
    finish(call, words.size() == 2 ? set(words[0], words[1])
                                   : fail(failure::usage, "a message is a key and a value"));
    co_return;
  }
  words.erase(words.begin());
  auto ranges = ranges_of(words);
  if (ranges && state_.mode() != cache_mode::passthrough) {
    ranges = fail(failure::failed, "blocks are invalidated in passthrough mode only");
  }
  if (!ranges) {
    finish(call, std::unexpected{ranges.error()});
    co_return;
  }
  ++nr_invalidating_;
  bool are_gone = true;
  for (const auto &[begin, end] : *ranges) {
    const bool is_done = co_await migrations_.invalidate_range(begin, end);
    are_gone = are_gone && is_done;
  }
  --nr_invalidating_;
  result<> outcome;
  if (!migrations_.may_change_metadata()) {
    outcome = fail(failure::failed, "the metadata can't be written any more");
  } else if (!are_gone) {
    outcome = fail(failure::failed, "some of the blocks are cached still: the metadata device is "
                                    "full: use a larger one (see cache_metadata_size)");
  }
  finish(call, std::move(outcome));
}

// "7" or "3-9", which is without 9.
result<std::vector<cache_engine::block_range>>
cache_engine::ranges_of(const std::vector<std::string> &words) const {
  std::vector<block_range> ranges;
  for (const std::string &word : words) {
    const std::size_t dash = word.find('-');
    const auto begin = whole_number<std::uint64_t>(std::string_view{word}.substr(0, dash));
    const auto end = dash == std::string::npos
                         ? begin.transform([](std::uint64_t first) { return first + 1; })
                         : whole_number<std::uint64_t>(std::string_view{word}.substr(dash + 1));
    if (!begin || !end || *begin >= *end || *end > state_.mappings->nr_cache_blocks()) {
      return fail(
          failure::usage,
          fmt::format("no cache blocks '{}': a number, or begin-end with begin below end, of "
                      "{} blocks",
                      word, state_.mappings->nr_cache_blocks()));
    }
    ranges.push_back({cache_block{*begin}, cache_block{*end}});
  }
  return ranges;
}

// In the order in which they are named, several at a time.
flow<> cache_engine::do_compare(std::span<compared_block> blocks, comparison_changes wanted,
                                control &call) {
  ++nr_comparing_;
  std::uint64_t nr_open = 0;
  result<> outcome;
  for (compared_block &each : blocks) {
    while (!is_shut_down_ && (nr_pauses_ != 0 || !comparisons_.has_room())) {
      co_await something_ended_;
    }
    outcome = obstacle_to_comparing(wanted);
    if (!outcome) {
      break;
    }
    comparisons_.start(each, wanted, nr_open);
  }
  while (nr_open != 0) { // NOLINT(bugprone-infinite-loop): the comparisons count it down
    co_await something_ended_;
  }
  if (outcome &&
      std::ranges::count(blocks, compared_block::finding::untried, &compared_block::found) != 0) {
    outcome = obstacle_to_comparing(wanted);
  }
  if (wanted.clears_equal) {
    co_await clear_equal(blocks);
  }
  --nr_comparing_;
  finish(call, std::move(outcome));
}

result<> cache_engine::obstacle_to_comparing(comparison_changes wanted) const {
  if (is_shut_down_) {
    return fail(failure::failed, "the cache is being shut down");
  }
  if (state_.mode_of_metadata == metadata_mode::fail) {
    return fail(failure::environment, "the metadata failed, and nothing is served any more");
  }
  if ((wanted.clears_equal || wanted.drops_stale) && !migrations_.may_change_metadata()) {
    return fail(failure::failed,
                "nothing can be cleared or dropped: the metadata can't be written");
  }
  if (wanted.clears_equal && !comparisons_.may_clear()) {
    return fail(failure::failed,
                "nothing can be cleared: a device couldn't be flushed, and may hold "
                "less than what is read of it: cache_ctl clean writes it again");
  }
  return {};
}

// Those that settle become clean, unless the origin can't be flushed, or clients write to them.
flow<> cache_engine::clear_equal(std::span<compared_block> blocks) {
  const auto is_equal = [](const compared_block &each) {
    return each.is_dirty && each.found == compared_block::finding::equal;
  };
  if (std::ranges::any_of(blocks, is_equal)) {
    co_await commits_.commit(true);
  }
  for (compared_block &each : blocks) {
    each.is_changed =
        each.is_changed || (is_equal(each) && state_.mappings->find(each.block) == each.cached_in &&
                            !state_.mappings->is_dirty(each.cached_in));
  }
}

flow<> cache_engine::do_shut_down(control &call) {
  if (!is_shut_down_) {
    pause();
    is_shut_down_ = true;
    auto waiting = waiting_.take_all();
    while (request *each = waiting.pop()) {
      each->outcome = std::make_error_code(std::errc::no_such_device);
      state_.completed.push(*each);
    }
    while (!is_quiet() || nr_reloading_ != 0 || nr_comparing_ != 0) { // these commit
      co_await something_ended_;
    }
    result<> outcome = co_await close_metadata();
    while (!is_quiet() || commits_.is_busy()) { // a flush may have waited for what had to leave
      co_await something_ended_;
    }
    closing_ = std::move(outcome);
  }
  while (!closing_) { // somebody else has it shut down
    co_await something_ended_;
  }
  finish(call, *closing_);
}

flow<result<>> cache_engine::close_metadata() {
  if (state_.mode_of_metadata == metadata_mode::untouched) {
    co_return result<>{};
  }
  const committer::outcome flushed = co_await commits_.commit(true);
  co_await wait_for_quiet(); // what that found to be unreliable leaves the cache
  if (!migrations_.may_change_metadata()) {
    co_return co_await leave_in_order();
  }
  // Where a flush failed before, a clean block needn't be the same on both devices any more.
  if (!flushed.is_good() || state_.flushes.has_ever_failed()) {
    co_return fail(failure::environment,
                   "not cleanly shut down: a device couldn't be flushed: all that is cached counts "
                   "as dirty");
  }
  if (state_.nr_not_withdrawn != 0) { // each commit would try once more, the last one as well
    const std::string &why = migrations_.writeback_failure();
    co_return fail(failure::environment,
                   fmt::format("not cleanly shut down: {} blocks of which the fast device may have "
                               "lost something can't leave the cache{}",
                               state_.nr_not_withdrawn,
                               why.empty() ? "" : fmt::format(" ({})", why)));
  }
  auto written = co_await write_shutdown();
  if (!written && !migrations_.may_change_metadata()) {
    auto left = co_await leave_in_order();
    if (written.error().kind == failure::environment) {
      co_return left;
    }
  }
  co_return written;
}

// What is cleanly shut down claims that clean blocks are the same on both devices: so both have
// been flushed before anything of it is written.
flow<result<>> cache_engine::write_shutdown() {
  const online_metadata::shutdown_state last{
      .discards = *state_.discards,
      .statistics = state_.statistics,
      .policy = state_.policy->name(),
      .policy_version = state_.policy->version(),
      .hint = [this](cache_block block) { return state_.policy->hint(block); },
  };
  commits_.forget_notes_in_memory();
  for (bool is_all = false; !is_all;) {
    auto prepared = state_.metadata->prepare_shutdown(last);
    if (!prepared) {
      commits_.give_up();
      co_await commits_.commit();
      co_return fail(failure::failed,
                     fmt::format("not cleanly shut down: {}", prepared.error().message));
    }
    is_all = *prepared;
    const committer::outcome written = co_await commits_.commit();
    if (!written.is_good()) {
      co_return fail(failure::environment, "not cleanly shut down: the metadata can't be written");
    }
  }
  co_return result<>{};
}

// The metadata can't be written any more, and at the next start all that they map counts as dirty.
// So that nobody misses anything by then, all that is dirty goes to the origin.
flow<result<>> cache_engine::leave_in_order() {
  state_.migrations_allowed = true;
  migrations_.withdraw();
  co_await wait_for_quiet();
  const std::string why = co_await write_back_all(true);
  state_.migrations_allowed = false;
  co_await wait_for_quiet();
  const committer::outcome flushed = co_await commits_.commit(true);
  co_await wait_for_quiet();
  const std::uint64_t nr_left = state_.mappings->nr_dirty();
  co_return fail(
      failure::environment,
      fmt::format("not cleanly shut down: the metadata can't be written: {}: mend the cause, and "
                  "run cache_check --clear-needs-check-flag",
                  nr_left != 0
                      ? fmt::format("{} dirty blocks couldn't be written back ({})", nr_left, why)
                  : flushed.origin ? "the origin couldn't be flushed"
                                   : "all that was dirty is on the origin as well"));
}

result<> cache_engine::set(const std::string &key, const std::string &value) {
  const auto done = key == "migration_threshold" ? set_threshold(value)
                    : key == "cleaning"          ? set_cleaning(value)
                    : key == "max_dirty"         ? set_max_dirty(value)
                                                 : set_of_policy(key, value);
  migrations_.work();
  return done;
}

result<> cache_engine::set_threshold(const std::string &value) {
  const auto threshold = parse_sectors("migration_threshold", value, bare_number::is_in_sectors);
  if (!threshold) {
    return std::unexpected{threshold.error()};
  }
  state_.options.migration_threshold = *threshold;
  return {};
}

result<> cache_engine::set_cleaning(const std::string &value) {
  const auto trigger = find_cleaning_trigger(value);
  if (!trigger) {
    return std::unexpected{trigger.error()};
  }
  state_.options.cleaning = *trigger;
  return {};
}

result<> cache_engine::set_max_dirty(const std::string &value) {
  const auto limit = find_dirty_limit("max_dirty", value, bare_number::is_in_sectors);
  if (!limit) {
    return std::unexpected{limit.error()};
  }
  state_.options.max_dirty = *limit;
  apply_dirty_limit();
  return {};
}

// The options know it as well, of which a reload makes a new policy.
result<> cache_engine::set_of_policy(const std::string &key, const std::string &value) {
  if (auto done = state_.policy->set(key, value); !done) {
    return done;
  }
  state_.advisor->follow(*state_.policy);
  std::vector<policy::setting> &settings = state_.options.policy_settings;
  const auto known = std::ranges::find(settings, key, &policy::setting::first);
  if (known != settings.end()) {
    known->second = value;
  } else {
    settings.emplace_back(key, value);
  }
  return {};
}

} // namespace dmcache
