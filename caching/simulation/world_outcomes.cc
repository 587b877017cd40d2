// What became of a request in a world is held against what may become of it.
#include <algorithm>
#include <ranges>
#include <utility>

#include "caching/simulation/world.h"

namespace dmcache {

void world::completed(client_request &asked) {
  note("completed {}{}", fmt::ptr(&asked), asked.inner.outcome ? ": failed" : "");
  carrier_.digest().add(now_.count(), asked.inner.op, asked.change, asked.inner.outcome.value());
  if (const auto fault = fault_of(asked)) {
    violate(*fault);
  }
  if (asked.told != nullptr) {
    *asked.told = asked.inner.outcome;
    asked.told = nullptr;
  }
  asked.is_under_way = false;
  --nr_under_way_;
  std::erase(waiting_, &asked);
  requests_.give_back(asked);
  if (asked.step_of != nullptr) {
    ended(asked);
  }
}

std::optional<std::string> world::fault_of(const client_request &asked) {
  const request &inner = asked.inner;
  const bool is_done = !inner.outcome;
  if (inner.outcome == std::errc::not_enough_memory) {
    return fault_of_shortage(asked);
  }
  if (!is_done && !is_failure_justified(asked)) {
    return fmt::format("operation {} of [{}, {}) failed, but no device did",
                       static_cast<int>(inner.op), asked.where.begin, asked.where.end);
  }
  const bool is_to_be_durable = inner.op == operation::flush || (inner.fua && asked.change != 0);
  if (is_done && is_to_be_durable && asked.mode == metadata_mode::fail) {
    return "something was said to be durable after the metadata had failed for good";
  }
  if (is_done && asked.mode == metadata_mode::fail) {
    return "something was served after the metadata had failed for good";
  }
  const bool is_refused = inner.outcome == std::errc::no_such_device; // which tells nothing
  if (inner.op == operation::flush && !is_refused) {
    if (is_done && untold_loss_ && *untold_loss_ < asked.submitted_at) {
      return "a flush succeeded, though what it should cover was lost by one that failed";
    }
    told_at_ = has_untold_failure_ && !is_done ? now_ : told_at_;
    has_untold_failure_ = has_untold_failure_ && is_done;
    untold_loss_ = is_done ? untold_loss_ : std::nullopt;
  }
  if (asked.change != 0) {
    if (is_done) {
      owe_failure(asked);
    }
    auto fault = model_.end(asked.change, is_done, inner.fua);
    return fault || !is_done || inner.op != operation::discard ? fault : fault_of_discard(asked);
  }
  if (is_done && inner.op == operation::flush) {
    model_.flushed(asked.submitted_at);
  }
  return is_done && inner.op == operation::read
             ? fault_of_data(inner.data, parts_.of(asked.where), asked.before)
             : std::nullopt;
}

// One allocation that fails costs one request at most, of which nothing has been done.
std::optional<std::string> world::fault_of_shortage(const client_request &asked) {
  if (!std::exchange(is_memory_missing_, false) || asked.inner.op == operation::flush) {
    return fmt::format("operation {} of [{}, {}) failed for want of memory, which there was",
                       static_cast<int>(asked.inner.op), asked.where.begin, asked.where.end);
  }
  return asked.change != 0 ? model_.refuse(asked.change) : std::nullopt;
}

// The change ends well. If a flush failed while it was under way, and may have lost a part of it,
// whoever was told of that flush needn't know that it concerns this one: a later flush has to fail.
void world::owe_failure(const client_request &asked) {
  if (asked.failed_flushes != engine_->state().flushes.now()) {
    has_untold_failure_ = true;
  }
  if (model_.can_be_lost(asked.change)) {
    untold_loss_ = untold_loss_.value_or(model_.now());
  }
}

// A device must have failed at what was asked for; or the metadata, as far as they were needed.
bool world::is_failure_justified(const client_request &asked) const {
  if (asked.inner.outcome == std::errc::no_such_device) {
    return is_shutting_down_;
  }
  if (engine_->state().mode_of_metadata == metadata_mode::fail) {
    return true;
  }
  switch (asked.inner.op) {
  case operation::flush:
    return is_durability_denied(asked);
  case operation::read:
    return has_failed_since(asked, engine_io::operation::read);
  case operation::prefetch:
    return false;
  case operation::write:
    return has_failed_since(asked, engine_io::operation::write) || is_durability_denied(asked) ||
           is_invalidation_denied(asked);
  case operation::write_zeroes:
    return has_failed_since(asked, engine_io::operation::write_zeroes) ||
           is_durability_denied(asked) || is_invalidation_denied(asked);
  case operation::discard:
    return has_failed_since(asked, engine_io::operation::discard) || is_durability_denied(asked);
  }
  return false;
}

bool world::has_failed_since(const client_request &asked, engine_io::operation op) const {
  const auto number = static_cast<std::size_t>(op);
  return failures_.at(number) != asked.failures.at(number);
}

// A flush fails if the metadata are given up meanwhile, or if what only memory maps can't be brought
// to the origin, or couldn't before the event that ended the flush; or once, with those that end
// together with it, after a device failed to flush, whoever had asked for that. A FUA write fails if
// that happened while it was under way.
bool world::is_durability_denied(const client_request &asked) const {
  const cache_state &state = engine_->state();
  const bool is_wanted = asked.inner.op == operation::flush || asked.inner.fua;
  if (is_wanted && (state.nr_not_withdrawn != 0 || not_withdrawn_at_ == now_ ||
                    asked.mode != state.mode_of_metadata)) {
    return true;
  }
  if (asked.inner.op == operation::flush) {
    return has_untold_failure_ || told_at_ == now_;
  }
  return asked.inner.fua && asked.failed_flushes != engine_->state().flushes.now();
}

// In passthrough mode a write to a cached block changes the metadata first: else the mapping could
// come back, and hide it. It fails if they can't be changed, because they have been given up, or
// are full; and then the block stays.
bool world::is_invalidation_denied(const client_request &asked) const {
  const cache_state &state = engine_->state();
  const bool is_possible =
      state.mode_of_metadata == metadata_mode::write &&
      !(how_.nr_metadata_blocks < enough_metadata_blocks && state.metadata->is_full());
  if (is_possible || asked.submitted_at > passthrough_at_) {
    return false;
  }
  const std::uint64_t block_size = state.block_size / sector_size;
  for (std::uint64_t at = asked.where.begin / block_size; at * block_size < asked.where.end; ++at) {
    if (state.mappings->find(origin_block{at})) {
      return true;
    }
  }
  return false;
}

// What is dirty of a block that was discarded as a whole is forgotten, as long as mappings can be
// removed. A later write can make the block dirty again.
std::optional<std::string> world::fault_of_discard(const client_request &asked) const {
  const cache_state &state = engine_->state();
  if (state.mode_of_metadata != metadata_mode::write ||
      how_.nr_metadata_blocks < enough_metadata_blocks) {
    return {};
  }
  const std::uint64_t block_size = state.block_size / sector_size;
  for (std::uint64_t at = divided_up(asked.where.begin, block_size);
       (at + 1) * block_size <= asked.where.end; ++at) {
    const auto block = state.mappings->find(origin_block{at});
    if (!block || !state.mappings->is_dirty(*block)) {
      continue;
    }
    const sector_range parts = parts_.of({at * block_size, (at + 1) * block_size});
    if (std::ranges::all_of(std::views::iota(parts.begin, parts.end), [&](std::uint64_t part) {
          return model_.is_last(asked.change, part);
        })) {
      return fmt::format("block {} was discarded, and is dirty still", at);
    }
  }
  return {};
}

// What is clean is the same on both devices, unless one of them failed or somebody else wrote. What
// came out of blocks that are dirty shows when they are clean.
std::optional<std::string> world::fault_of_comparison(const client_control &call) const {
  const bool is_spotless = nr_failed() == failed_at_open_ && !is_overwritten_;
  for (const compared_block &each : call.compared) {
    if (each.found == compared_block::finding::untried && call.inner.outcome &&
        call.reloads_before == nr_reloads_begun_) {
      return fmt::format("block {} was not compared, though nothing was in the way", each.block);
    }
    if (is_spotless && each.found == compared_block::finding::unreadable) {
      return fmt::format("block {} is said to be unreadable, but no device failed", each.block);
    }
    if (is_spotless && each.found == compared_block::finding::differs && !each.is_dirty) {
      return fmt::format("block {} is clean, and said to differ", each.block);
    }
  }
  return {};
}

std::optional<std::string> world::fault_of_data(std::span<const std::byte> data, sector_range parts,
                                                change_id before) {
  for (std::uint64_t part = parts.begin; part < parts.end; ++part) {
    const stamp found = stamp_of(parts_.stored(data, parts.begin, part));
    if (auto fault = model_.read(part, found, before)) {
      return fault;
    }
  }
  return {};
}

} // namespace dmcache
