// What is asked of the engine as a whole: cleaning, reloading, messages, shutting down.
#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "base/whole_number.h"
#include "caching/engine/cache_engine.h"

namespace dmcache {

void cache_engine::clean(control &which) {
  start(do_clean(which));
}

void cache_engine::reload(options_change change, control &which) {
  start(do_reload(std::move(change), which));
}

void cache_engine::message(std::vector<std::string> words, control &which) {
  start(do_message(std::move(words), which));
}

void cache_engine::shut_down(control &which) {
  start(do_shut_down(which));
}

void cache_engine::start(flow<> what) {
  flows_.start(std::move(what));
  run();
}

flow<> cache_engine::do_clean(control &which) {
  const std::uint64_t failures = state_.failed_writebacks;
  ++nr_cleaning_;
  migrations_.clean(true);
  while (state_.mappings->nr_dirty() != 0 && state_.failed_writebacks == failures &&
         migrations_.may_change_metadata() && !is_shut_down_) {
    co_await something_ended_;
  }
  migrations_.clean(--nr_cleaning_ != 0);
  result<> outcome;
  if (const std::uint64_t left = state_.mappings->nr_dirty(); left != 0) {
    outcome = fail(failure::failed, fmt::format("{} blocks are dirty still: {}", left,
                                                is_shut_down_ ? "the cache is being shut down"
                                                : migrations_.may_change_metadata()
                                                    ? state_.writeback_failure
                                                    : "the metadata can't be written any more"));
  }
  finish(which, std::move(outcome));
}

flow<> cache_engine::do_reload(options_change change, control &which) {
  hold();
  co_await wait_for_quiet();
  co_await commits_.commit(); // what was written back becomes clean, or stays dirty
  result<> outcome = fail(failure::failed, "the cache is being shut down");
  if (!is_shut_down_) {
    engine_options options = state_.options; // with what others have changed while this waited
    change(options);
    outcome = change_options(std::move(options));
  }
  let_go();
  finish(which, std::move(outcome));
}

result<> cache_engine::change_options(engine_options options) {
  if (options.mode == cache_mode::passthrough && state_.mappings->nr_dirty() != 0) {
    return fail(
        failure::failed,
        fmt::format("passthrough needs a cache without dirty blocks, and {} are dirty: clean "
                    "it first",
                    state_.mappings->nr_dirty()));
  }
  // Its own hints are the best that the new policy can have.
  lazy_array<le32> hints{state_.mappings->nr_cache_blocks()};
  for (std::uint64_t i = 0; i < hints.size(); ++i) {
    if (state_.mappings->is_mapped(cache_block{i})) {
      hints[i] = state_.decisions->hint(cache_block{i});
    }
  }
  auto decisions = make_decisions(options, std::move(hints), state_.decisions->name(),
                                  state_.decisions->version());
  if (!decisions) {
    return std::unexpected{decisions.error()};
  }
  state_.decisions = std::move(*decisions);
  options.block_size = state_.options.block_size;
  options.metadata_version = state_.options.metadata_version;
  options.read_only = state_.options.read_only;
  state_.options = std::move(options);
  state_.mode = state_.options.mode;
  return {};
}

// It takes turns with reloads: what one of them asks for must not end in another mode.
flow<> cache_engine::do_message(std::vector<std::string> words, control &which) {
  while (nr_holds_ != 0 && !is_shut_down_) {
    co_await something_ended_;
  }
  if (is_shut_down_) {
    finish(which, fail(failure::failed, "the cache is being shut down"));
    co_return;
  }
  if (!migrations_.may_change_metadata()) {
    finish(which, fail(failure::failed, "messages are refused: the metadata can't be written"));
    co_return;
  }
  if (words.empty() || words.front() != "invalidate_cblocks") {
    finish(which, words.size() == 2 ? set(words[0], words[1])
                                    : fail(failure::usage, "a message is a key and a value"));
    co_return;
  }
  words.erase(words.begin());
  auto ranges = ranges_of(words);
  if (ranges && state_.mode != cache_mode::passthrough) {
    ranges = fail(failure::failed, "blocks are invalidated in passthrough mode only");
  }
  if (!ranges) {
    finish(which, std::unexpected{ranges.error()});
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
  finish(which, std::move(outcome));
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

flow<> cache_engine::do_shut_down(control &which) {
  if (!is_shut_down_) {
    hold();
    is_shut_down_ = true;
    auto waiting = held_.take_all();
    while (request *each = waiting.pop()) {
      each->outcome = std::make_error_code(std::errc::no_such_device);
      complete(*each);
    }
    co_await wait_for_quiet();
    result<> outcome = co_await close_metadata();
    closing_ = std::move(outcome);
  }
  while (!closing_) { // somebody else has it shut down
    co_await something_ended_;
  }
  finish(which, *closing_);
}

// What is cleanly shut down claims that clean blocks are the same on both devices: so both are
// flushed before anything of it is written.
flow<result<>> cache_engine::close_metadata() {
  if (state_.metadata_is == metadata_mode::untouched) {
    co_return result<>{};
  }
  committer::outcome flushed = co_await commits_.commit();
  // Where a flush failed before, a clean block needn't be the same on both devices any more.
  if (!flushed.is_good() || state_.failed_flushes != 0) {
    co_return fail(failure::environment,
                   "not cleanly shut down: the devices can't be flushed, or the "
                   "metadata not be written: all that is cached will count as "
                   "dirty");
  }
  const online_metadata::shutdown_state last{
      .discards = *state_.discards,
      .statistics = state_.statistics,
      .policy = state_.decisions->name(),
      .policy_version = state_.decisions->version(),
      .hint = [this](cache_block block) { return state_.decisions->hint(block); },
  };
  for (bool is_all = false; !is_all;) {
    auto prepared = state_.metadata->prepare_shutdown(last);
    if (!prepared) {
      commits_.give_up();
      co_await commits_.commit();
      co_return fail(failure::failed,
                     fmt::format("not cleanly shut down: {}", prepared.error().message));
    }
    is_all = *prepared;
    committer::outcome written = co_await commits_.commit();
    if (!written.is_good()) {
      co_return fail(failure::environment,
                     "not cleanly shut down: the metadata can't be written: all that is cached "
                     "will count as dirty");
    }
  }
  co_return result<>{};
}

result<> cache_engine::set(const std::string &key, const std::string &value) {
  if (key != "migration_threshold") {
    return set_of_policy(key, value);
  }
  const auto number = whole_number<std::uint64_t>(value);
  if (!number || *number > std::numeric_limits<std::uint64_t>::max() / sector_size) {
    return fail(failure::usage,
                fmt::format("migration_threshold is a number of sectors, not '{}'", value));
  }
  state_.options.migration_threshold = sectors{*number};
  migrations_.work();
  return {};
}

// The options know it as well, of which a reload makes a new policy.
result<> cache_engine::set_of_policy(const std::string &key, const std::string &value) {
  if (auto done = state_.decisions->set(key, value); !done) {
    return done;
  }
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
