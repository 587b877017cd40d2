#include "caching/replay/lru_cache.h"

#include <cmath>

namespace dmcache {

lru_cache::lru_cache(const policy_geometry &geometry, replay_mode mode, std::uint64_t delay)
    : block_size_{to_bytes(geometry.block_size)}, mode_{mode}, delay_{delay},
      slots_(geometry.nr_cache_blocks + 1),
      head_{static_cast<std::uint32_t>(geometry.nr_cache_blocks)} {
  slots_[head_].newer = head_;
  slots_[head_].older = head_;
}

void lru_cache::request(const trace_request &request) {
  if (std::floor(request.time) >= last_time_ + idle_after) {
    nr_before_pause_ = nr_requests_;
  }
  last_time_ = request.time;
  ++nr_requests_;
  for_each_block(request, block_size_, [&](origin_block block, bytes length) {
    access(block, request.is_write, length);
  });
}

void lru_cache::access(origin_block block, bool is_write, bytes length) {
  const auto found = found_.find(block.value());
  if (found == found_.end()) {
    ++counts_.nr_misses;
    miss(block, is_write && length == block_size_);
  } else if (is_promoting(slots_[found->second])) {
    ++counts_.nr_misses;
    take_out(found->second);
    put_first(found->second);
  } else {
    ++counts_.nr_hits;
    hit(found->second, is_write, length);
  }
}

void lru_cache::hit(std::uint32_t block, bool is_write, bytes length) {
  take_out(block);
  put_first(block);
  if (is_write) {
    counts_.written_to_fast += length.value();
    slots_[block].is_dirty = mode_ == replay_mode::writeback;
  }
}

// A write that covers the whole block goes to the fast device alone, if the mode allows it.
void lru_cache::miss(origin_block block, bool covers_all) {
  if (const auto into = take_block()) {
    found_.emplace(block.value(), *into);
    slots_[*into].holds = block;
    slots_[*into].promoted_by = nr_requests_;
    slots_[*into].is_dirty = covers_all && mode_ == replay_mode::writeback;
    put_first(*into);
    ++counts_.nr_promotions;
    counts_.written_to_fast += block_size_.value();
  }
}

// A block that is free, or becomes so.
std::optional<std::uint32_t> lru_cache::take_block() {
  if (nr_used_ < head_) {
    return nr_used_++;
  }
  const std::uint32_t oldest = slots_[head_].newer;
  if (is_promoting(slots_[oldest])) {
    return {};
  }
  take_out(oldest);
  found_.erase(slots_[oldest].holds.value());
  ++counts_.nr_demotions;
  counts_.nr_written_back += slots_[oldest].is_dirty ? 1U : 0U;
  return oldest;
}

bool lru_cache::is_promoting(const slot &each) const {
  return delay_ > 0 && nr_requests_ - each.promoted_by <= delay_ &&
         each.promoted_by > nr_before_pause_;
}

void lru_cache::take_out(std::uint32_t block) {
  const slot &taken = slots_[block];
  slots_[taken.newer].older = taken.older;
  slots_[taken.older].newer = taken.newer;
}

void lru_cache::put_first(std::uint32_t block) {
  slot &put = slots_[block];
  put.newer = head_;
  put.older = slots_[head_].older;
  slots_[put.older].newer = block;
  slots_[head_].older = block;
}

} // namespace dmcache
