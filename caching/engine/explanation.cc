#include "caching/engine/explanation.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "caching/engine/cache_engine.h"

namespace dmcache {

result<block_explanation> cache_engine::explain(bytes offset) const {
  if (offset >= state_.origin_size) {
    return fail(failure::usage, fmt::format("byte {} is beyond the origin's end, which has {}",
                                            offset, state_.origin_size));
  }
  block_explanation of;
  of.block = origin_block{offset.value() / state_.block_size};
  of.begin = state_.origin_offset(of.block);
  of.length = bytes{
      std::min<std::uint64_t>(state_.block_size, state_.origin_size.value() - of.begin.value())};
  of.policy = state_.policy->name();
  of.sentences.push_back(
      fmt::format("Block {} of the origin: {} bytes from {} on.", of.block, of.length, of.begin));
  if (!state_.is_cacheable(of.block)) {
    of.sentences.emplace_back(
        "It is what is left at the origin's end, and no whole block: it is never cached.");
    return of;
  }
  block_account known;
  of.cached_in = state_.mappings->find(of.block);
  if (of.cached_in) {
    of.is_dirty = state_.mappings->is_dirty(*of.cached_in);
    of.sentences.push_back(state_of_cached(*of.cached_in));
    known = state_.policy->account_of_cached(*of.cached_in);
  } else {
    of.sentences.emplace_back("It is not cached.");
    if (std::string obstacle = obstacle_to_promotion(of.block); !obstacle.empty()) {
      of.sentences.push_back(std::move(obstacle));
    }
    known = state_.policy->account_of_uncached(of.block);
  }
  of.counts = std::move(known.counts);
  if (!known.text.empty()) {
    of.sentences.push_back(std::move(known.text));
  }
  return of;
}

std::string cache_engine::state_of_cached(cache_block block) const {
  const char *const state =
      state_.mappings->is_settling(block)
          ? "written back: it is clean as soon as the origin is flushed"
      : state_.mappings->is_dirty(block)
          ? "dirty: the fast device alone has the newest data, until it is written back"
          : "clean: the origin has the same data";
  return fmt::format("It is cached, in cache block {}, and {}.", block, state);
}

// What keeps all blocks, or this one, from being promoted whatever the policy says.
std::string cache_engine::obstacle_to_promotion(origin_block block) const {
  if (state_.mode() == cache_mode::passthrough) {
    return "Nothing is promoted in passthrough mode.";
  }
  if (!migrations_.may_change_metadata()) {
    return "Nothing is promoted, since the metadata can't be written.";
  }
  if (state_.metadata->is_full()) {
    return "Nothing is promoted, since the metadata device is full.";
  }
  if (!state_.migrations_allowed) {
    return "Nothing is promoted while the cache is changed or shut down.";
  }
  if (!migrations_.may_promote()) {
    return "Nothing is promoted for a second, since a copy has failed.";
  }
  if (state_.locks.has_migration(block)) {
    return "It is being promoted, or has just left the cache.";
  }
  if (state_.is_discarded(block)) {
    return "It is discarded, so reads don't promote it, and the next write does without a copy.";
  }
  if (!migrations_.has_room()) {
    return "As much is being copied as migration_threshold allows: until that is done, only a "
           "write of the whole block can promote it.";
  }
  return "";
}

} // namespace dmcache
