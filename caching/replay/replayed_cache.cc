#include "caching/replay/replayed_cache.h"

#include <algorithm>
#include <utility>

namespace dmcache {
namespace {

constexpr std::uint64_t longest_pause = 3600; // seconds; nothing is left to do after them

} // namespace

replayed_cache::replayed_cache(std::unique_ptr<policy> chosen_policy,
                               const policy_geometry &geometry, replay_mode mode,
                               std::uint64_t delay)
    : policy_{std::move(chosen_policy)}, block_size_{to_bytes(geometry.block_size)}, mode_{mode},
      delay_{delay}, slots_(geometry.nr_cache_blocks) {}

void replayed_cache::request(const trace_request &request) {
  pass_time(request.time);
  ++nr_requests_;
  for_each_block(request, block_size_, [&](origin_block block, bytes length) {
    access(block, request.is_write, length);
  });
  begin_work(false);
  while (!running_.empty() && running_.front().ends <= nr_requests_) {
    end_one(running_.front());
    running_.pop_front();
  }
}

void replayed_cache::pass_time(double now) {
  const auto end = static_cast<std::uint64_t>(now) + 1;
  std::uint64_t second = last_time_ ? static_cast<std::uint64_t>(*last_time_) + 1 : end - 1;
  for (second = std::max(second, end - std::min(end, longest_pause)); second < end; ++second) {
    policy_->tick(second);
    if (last_time_ && static_cast<double>(second) >= *last_time_ + idle_after) {
      for (const running &each : std::exchange(running_, {})) {
        end_one(each);
      }
      begin_work(true);
    }
  }
  last_time_ = now;
}

void replayed_cache::access(origin_block block, bool is_write, bytes length) {
  const auto found = found_.find(block.value());
  if (found == found_.end()) {
    ++counts_.nr_misses;
    const bool covers_all = is_write && length == block_size_ && mode_ == replay_mode::writeback;
    miss(block, covers_all ? promotion::without_copy
                : is_write ? promotion::after_write
                           : promotion::by_copy);
  } else if (slots_[found->second.value()].is_promoting) {
    ++counts_.nr_misses;
    policy_->miss(block, promotion::none);
  } else {
    ++counts_.nr_hits;
    hit(found->second, is_write, length);
  }
}

void replayed_cache::hit(cache_block block, bool is_write, bytes length) {
  policy_->hit(block);
  if (!is_write) {
    return;
  }
  counts_.written_to_fast += length.value();
  slots_[block.value()].was_written = true;
  if (mode_ == replay_mode::writeback) {
    slots_[block.value()].is_dirty = true;
    policy_->mark_dirty(block);
  }
}

void replayed_cache::miss(origin_block block, promotion possible) {
  if (const std::optional<cache_block> into = policy_->miss(block, possible)) {
    found_.emplace(block.value(), *into);
    slots_[into->value()] = {block, true, possible == promotion::without_copy, false};
    running_.push_back({nr_requests_ + delay_, *into, {}});
  }
}

void replayed_cache::begin_work(bool is_idle) {
  while (const std::optional<background_work> work = policy_->next_work(is_idle)) {
    slots_[work->block.value()].was_written = false;
    if (is_idle || delay_ == 0) {
      end_one({nr_requests_, work->block, work});
    } else {
      running_.push_back({nr_requests_ + delay_, work->block, work});
    }
  }
}

// What was written meanwhile can neither be dropped nor called clean.
void replayed_cache::end_one(const running &ended) {
  slot &changed = slots_[ended.block.value()];
  if (!ended.work) {
    end_promotion(ended.block);
    return;
  }
  const bool is_done = !changed.was_written;
  policy_->completed(*ended.work, is_done);
  if (is_done && ended.work->task == background_work::kind::demote) {
    ++counts_.nr_demotions;
    found_.erase(changed.holds.value());
  } else if (is_done) {
    ++counts_.nr_written_back;
    changed.is_dirty = false;
  }
}

void replayed_cache::end_promotion(cache_block block) {
  slot &filled = slots_[block.value()];
  filled.is_promoting = false;
  ++counts_.nr_promotions;
  counts_.written_to_fast += block_size_.value();
  policy_->promoted(block, true);
  if (filled.is_dirty) {
    policy_->mark_dirty(block);
  }
}

} // namespace dmcache
