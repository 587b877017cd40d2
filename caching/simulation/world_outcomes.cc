// What became of a request in a world is held against what may become of it.
#include "caching/simulation/world.h"

namespace dmcache {

void world::completed(client_request &which) {
  note("completed {}{}", fmt::ptr(&which), which.inner.outcome ? ": failed" : "");
  carrier_.digest().add(now_.count(), which.inner.op, which.change, which.inner.outcome.value());
  if (const auto fault = fault_of(which)) {
    violate(*fault);
  }
  if (which.told != nullptr) {
    *which.told = which.inner.outcome;
    which.told = nullptr;
  }
  --nr_under_way_;
  std::erase(held_, &which);
  free_requests_.push_back(&which);
}

std::optional<std::string> world::fault_of(const client_request &which) {
  const request &inner = which.inner;
  const bool is_done = !inner.outcome;
  if (!is_done && !is_failure_justified(which)) {
    return fmt::format("operation {} of [{}, {}) failed, but no device did",
                       static_cast<int>(inner.op), which.where.begin, which.where.end);
  }
  const bool is_to_be_durable = inner.op == operation::flush || (inner.fua && which.change != 0);
  if (is_done && is_to_be_durable &&
      (which.mode == metadata_mode::read_only || which.mode == metadata_mode::fail)) {
    return "something was said to be durable after the metadata had failed";
  }
  if (is_done && which.mode == metadata_mode::fail) {
    return "something was served after the metadata had failed for good";
  }
  const bool is_refused = inner.outcome == std::errc::no_such_device; // which tells nothing
  if (inner.op == operation::flush && !is_refused) {
    if (is_done && untold_loss_ && *untold_loss_ < which.submitted_at) {
      return "a flush succeeded, though what it should cover was lost by one that failed";
    }
    told_at_ = has_untold_failure_ && !is_done ? now_ : told_at_;
    has_untold_failure_ = has_untold_failure_ && is_done;
    untold_loss_ = is_done ? untold_loss_ : std::nullopt;
  }
  if (which.change != 0) {
    if (is_done) {
      owe_failure(which);
    }
    return model_.end(which.change, is_done, inner.fua);
  }
  if (is_done && inner.op == operation::flush) {
    model_.flushed(which.submitted_at);
  }
  return is_done && inner.op == operation::read ? fault_of_data(which) : std::nullopt;
}

// The change ends well. If a flush failed while it was under way, and may have lost a part of it,
// whoever was told of that flush needn't know that it concerns this one: a later flush has to fail.
void world::owe_failure(const client_request &which) {
  if (which.failed_flushes != engine_->state().failed_flushes) {
    has_untold_failure_ = true;
  }
  if (model_.can_be_lost(which.change)) {
    untold_loss_ = untold_loss_.value_or(model_.now());
  }
}

// A device must have failed at what was asked for; or the metadata, as far as they were needed.
bool world::is_failure_justified(const client_request &which) const {
  if (which.inner.outcome == std::errc::no_such_device) {
    return is_shutting_down_;
  }
  if (engine_->state().mode_of_metadata == metadata_mode::fail) {
    return true;
  }
  switch (which.inner.op) {
  case operation::flush:
    return is_durability_denied(which);
  case operation::read:
    return has_failed_since(which, engine_io::operation::read);
  case operation::prefetch:
    return false;
  case operation::write:
    return has_failed_since(which, engine_io::operation::write) || is_durability_denied(which) ||
           is_invalidation_denied(which);
  case operation::write_zeroes:
    return has_failed_since(which, engine_io::operation::write_zeroes) ||
           is_durability_denied(which) || is_invalidation_denied(which);
  case operation::discard:
    return has_failed_since(which, engine_io::operation::discard) || is_durability_denied(which);
  }
  return false;
}

bool world::has_failed_since(const client_request &which, engine_io::operation what) const {
  const auto number = static_cast<std::size_t>(what);
  return failures_.at(number) != which.failures.at(number);
}

// A flush fails if the metadata have been given up; or once, with those that end together with it,
// after a device failed to flush, whoever had asked for that. A FUA write fails if that happened
// while it was under way.
bool world::is_durability_denied(const client_request &which) const {
  if (engine_->state().mode_of_metadata == metadata_mode::read_only) {
    return which.inner.op == operation::flush || which.inner.fua;
  }
  if (which.inner.op == operation::flush) {
    return has_untold_failure_ || told_at_ == now_;
  }
  return which.inner.fua && which.failed_flushes != engine_->state().failed_flushes;
}

// In passthrough mode a write to a cached block changes the metadata first: else the mapping could
// come back, and hide it. It fails if they can't be changed, because they have been given up, or
// are full; and then the block stays.
bool world::is_invalidation_denied(const client_request &which) const {
  const cache_state &state = engine_->state();
  const bool is_possible =
      state.mode_of_metadata == metadata_mode::write &&
      !(how_.nr_metadata_blocks < enough_metadata_blocks && state.metadata->is_full());
  if (is_possible || which.submitted_at > passthrough_at_) {
    return false;
  }
  const std::uint64_t block_size = state.block_size / sector_size;
  for (std::uint64_t at = which.where.begin / block_size; at * block_size < which.where.end; ++at) {
    if (state.mappings->find(origin_block{at})) {
      return true;
    }
  }
  return false;
}

std::optional<std::string> world::fault_of_data(const client_request &which) {
  const std::byte *at = which.inner.data.data();
  for (std::uint64_t sector = which.where.begin; sector < which.where.end; ++sector) {
    if (auto fault = model_.read(sector, stamp_of(at, stamps_), which.before)) {
      return fault;
    }
    at += sector_size;
  }
  return {};
}

} // namespace dmcache
