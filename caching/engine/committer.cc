#include "caching/engine/committer.h"

#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "caching/engine/io_description.h"

namespace dmcache {
namespace {

std::error_code io_error() {
  return std::make_error_code(std::errc::io_error);
}

bool is_writable(const cache_state &state) {
  return state.mode_of_metadata == metadata_mode::write;
}

bool has_failed(const cache_state &state) {
  return state.mode_of_metadata == metadata_mode::read_only ||
         state.mode_of_metadata == metadata_mode::fail;
}

} // namespace

committer::committer(cache_state &state, std::function<void(bool is_good)> ended)
    : state_{state}, ended_{std::move(ended)}, wake_{state.ready} {}

void committer::make_durable(request &asked) {
  if (has_failed(state_)) {
    asked.outcome = asked.outcome ? asked.outcome : io_error();
    state_.completed.push(asked);
    return;
  }
  waiting_requests_.push(asked);
  wake_.happen();
}

// A flush that failed during this write may have lost part of it, and the client that was told of
// it could not know. The next flush must fail, too.
void committer::acknowledge(request &asked) {
  if (asked.fua) {
    make_durable(asked);
    return;
  }
  told_flushes_ = std::min(told_flushes_, asked.failed_flushes);
  state_.completed.push(asked);
}

void committer::changed(cache_block block) {
  state_.metadata->changed(block);
  want_by(state_.now + max_delay);
}

void committer::want_by(instant when) {
  due_ = due_ ? std::min(*due_, when) : when;
}

void committer::settle(cache_block block) {
  state_.mappings->mark_settling(block, true);
  settling_.push_back(block);
  want_by(state_.now + max_delay);
  if (settling_.size() >= max_settling) {
    hurry_settling();
  }
}

void committer::hurry_settling() {
  if (!settling_.empty()) {
    is_settling_wanted_ = true;
    wake_.happen();
  }
}

void committer::unsettle(cache_block block) {
  const auto removed = std::erase(settling_, block) + std::erase(being_settled_, block);
  require(removed == 1, "a block settles once at a time");
  state_.mappings->mark_settling(block, false);
  state_.policy->completed({background_work::kind::write_back, block}, false);
}

void committer::settle_all(bool is_durable) {
  for (const cache_block block : std::exchange(being_settled_, {})) {
    if (is_durable) {
      state_.mappings->mark_clean(block);
      ++counts_.settled;
    } else {
      state_.mappings->mark_settling(block, false);
      ++counts_.unsettled;
    }
    state_.policy->completed({background_work::kind::write_back, block}, is_durable);
  }
}

void committer::tick() {
  if (due_ && *due_ <= state_.now) {
    wake_.happen();
  }
}

bool committer::is_wanted() const {
  return !waiting_requests_.empty() || !waiting_flows_.empty() || is_settling_wanted_ ||
         (due_ && *due_ <= state_.now);
}

flow<> committer::run() {
  for (;;) {
    while (!is_wanted()) {
      co_await wake_;
    }
    intrusive_queue<request> requests = waiting_requests_.take_all();
    const std::vector<waiting_flow> flows = std::exchange(waiting_flows_, {});
    is_committing_ = true;
    const outcome result = co_await commit_once();
    is_committing_ = false;
    for (const waiting_flow &each : flows) {
      *each.result = result;
      state_.ready.add(each.flow);
    }
    complete(requests, result);
    ended_(result.is_good());
  }
}

// A failed flush, even one that no client waited for, is reported to the next client that flushes,
// and to each FUA write of which it may have lost something.
void committer::complete(intrusive_queue<request> &waited, const outcome &result) {
  const std::uint64_t told = told_flushes_;
  while (request *each = waited.pop()) {
    const bool is_flush = each->op == request::operation::flush;
    const bool is_durable =
        result.is_good() && state_.failed_flushes == (is_flush ? told : each->failed_flushes);
    if (!each->outcome && !is_durable) {
      each->outcome = io_error();
    }
    told_flushes_ = is_flush ? state_.failed_flushes : told_flushes_;
    state_.completed.push(*each);
  }
}

void committer::begin_flush(cache_device on, io_group &in, std::error_code &error) {
  bool &is_needed = state_.needs_flush.at(static_cast<std::size_t>(on));
  if (is_needed) {
    is_needed = false;
    in.flush(on, error);
  }
}

flow<committer::outcome> committer::commit_once() {
  outcome result;
  due_.reset();
  is_settling_wanted_ = false;
  being_settled_ = std::exchange(settling_, {});
  std::optional<online_metadata::commit> made;
  if (is_given_up_) {
    result.metadata = false;
  } else if (is_writable(state_) && state_.metadata->has_changes()) {
    auto frozen = state_.metadata->freeze();
    if (!frozen) {
      result.metadata = false;
    } else {
      made = std::move(*frozen);
    }
  }
  std::error_code metadata_error;
  {
    io_group prerequisites{state_};
    begin_flush(cache_device::fast, prerequisites, result.fast);
    begin_flush(cache_device::origin, prerequisites, result.origin);
    for (const auto &block : made ? made->blocks : decltype(made->blocks){}) {
      prerequisites.write(cache_device::metadata, offset_of(block.where), block.data,
                          metadata_error);
    }
    co_await prerequisites;
  }
  if (result.fast) {
    state_.needs_flush[static_cast<std::size_t>(cache_device::fast)] = true;
    ++state_.failed_fast_flushes;
    ++state_.failed_flushes;
    // Blocks that were mapped meanwhile may have been among what it lost.
    result.metadata = result.metadata && !(is_writable(state_) && state_.metadata->has_changes());
  }
  if (result.origin) { // and what was written meanwhile may be lost as well
    state_.needs_flush[static_cast<std::size_t>(cache_device::origin)] = true;
    ++state_.failed_flushes;
    settling_failure_ =
        description_of(engine_io::operation::flush, cache_device::origin, {}, {}, result.origin);
    being_settled_.insert(being_settled_.end(), settling_.begin(), settling_.end());
    settling_.clear();
  }
  settle_all(!result.origin);
  if (made) {
    result.metadata = result.metadata && !result.fast && !metadata_error &&
                      co_await write_superblock(made->superblock);
    if (result.metadata) {
      state_.metadata->committed();
      ++counts_.commits;
    }
  }
  if (!result.metadata && is_writable(state_)) {
    co_await give_up_metadata();
  }
  result.metadata = result.metadata && !has_failed(state_);
  co_return result;
}

flow<bool> committer::write_superblock(std::span<std::byte> data) {
  std::error_code error;
  {
    io_group before{state_};
    before.flush(cache_device::metadata, error);
    co_await before;
  }
  if (!error) {
    io_group writing{state_};
    writing.write(cache_device::metadata, bytes{}, data, error);
    co_await writing;
  }
  if (!error) {
    io_group after{state_};
    after.flush(cache_device::metadata, error);
    co_await after;
  }
  co_return !error;
}

flow<> committer::give_up_metadata() {
  state_.mode_of_metadata = metadata_mode::read_only;
  const auto needs_check = state_.metadata->abort();
  const bool is_marked = co_await write_superblock(needs_check);
  if (!is_marked) {
    state_.mode_of_metadata = metadata_mode::fail;
  }
}

} // namespace dmcache
