#include "caching/policy/multi_queue_policy.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/assert.h"

namespace dmcache {
namespace {

constexpr std::uint32_t highest_level = multi_queue::nr_levels - 1;
constexpr std::uint64_t sentinel_seconds = 10;
constexpr std::uint64_t hit_seconds = 60;
// Almost every block of a large cache that has just been filled has to move, and requests would
// wait for that if it were done at once.
constexpr std::uint32_t max_moves = 65536;

// Blocks of which nothing is known must not all be the first, or the last, to go.
std::uint32_t spread_level(std::uint32_t block) {
  constexpr std::uint32_t golden_ratio = 0x9E3779B9;
  return block * golden_ratio >> 26;
}

} // namespace

multi_queue_policy::multi_queue_policy(std::uint64_t nr_cache_blocks)
    : nr_cache_blocks_{nr_cache_blocks},
      nodes_{nr_cache_blocks + 2 * std::uint64_t{multi_queue::nr_own_nodes} + 1},
      free_{static_cast<std::uint32_t>(nr_cache_blocks) + 2 * multi_queue::nr_own_nodes},
      clean_{nodes_, static_cast<std::uint32_t>(nr_cache_blocks)},
      dirty_{nodes_, static_cast<std::uint32_t>(nr_cache_blocks) + multi_queue::nr_own_nodes},
      hit_{nr_cache_blocks}, nr_free_{nr_cache_blocks}, sentinel_period_{sentinel_seconds},
      hit_period_{hit_seconds} {
  for (std::uint32_t block = 0; block < nr_cache_blocks; ++block) {
    nodes_.link_before(free_, block);
  }
}

std::uint32_t multi_queue_policy::number_of(cache_block block) const {
  require(block.value() < nr_cache_blocks_, "the cache has the block");
  return static_cast<std::uint32_t>(block.value());
}

bool multi_queue_policy::is_busy(std::uint32_t block, purpose with) const {
  return place_of(block) == place::none && nodes_[block].next() == static_cast<std::uint32_t>(with);
}

bool multi_queue_policy::is_used(std::uint32_t block) const {
  return place_of(block) != place::free && !is_busy(block, purpose::promoting);
}

void multi_queue_policy::enqueue(std::uint32_t block, bool is_dirty, std::uint32_t level) {
  const place where = is_dirty ? place::dirty : place::clean;
  nodes_[block].set_state(static_cast<std::uint8_t>(where));
  queue_of(where).push(block, level);
}

void multi_queue_policy::take_out(std::uint32_t block, purpose why, bool is_dirty) {
  if (place_of(block) == place::free) {
    nodes_.unlink(block);
    --nr_free_;
  } else {
    queue_of(place_of(block)).remove(block);
  }
  nodes_[block].set_state(static_cast<std::uint8_t>(place::none));
  nodes_[block].set_next(static_cast<std::uint32_t>(why));
  nodes_[block].set_previous(is_dirty ? 1 : 0);
}

// `block` stands in no ring.
void multi_queue_policy::set_free(std::uint32_t block) {
  nodes_[block].set_state(static_cast<std::uint8_t>(place::free));
  nodes_.link_before(free_, block);
  ++nr_free_;
  hit_.remove(block);
}

void multi_queue_policy::load(cache_block block, origin_block /*of*/, bool is_dirty,
                              std::optional<std::uint32_t> hint) {
  const std::uint32_t number = number_of(block);
  require(place_of(number) == place::free, "a block that is loaded was free");
  nodes_.unlink(number);
  --nr_free_;
  enqueue(number, is_dirty, hint ? std::min(*hint, highest_level) : spread_level(number));
}

void multi_queue_policy::hit(cache_block block) {
  const std::uint32_t number = number_of(block);
  if (hit_.contains(number)) {
    return;
  }
  if (place_of(number) == place::clean || place_of(number) == place::dirty) {
    hit_.insert(number);
    queue_of(place_of(number)).requeue(number, 1);
  } else {
    require(is_used(number), "a block that is hit is in use");
  }
}

std::optional<cache_block> multi_queue_policy::reserve() {
  if (nr_free_ == 0) {
    return {};
  }
  const std::uint32_t block = nodes_[free_].next();
  take_out(block, purpose::promoting, false);
  return cache_block{block};
}

void multi_queue_policy::promoted(cache_block block, bool is_done) {
  const std::uint32_t number = number_of(block);
  require(is_busy(number, purpose::promoting), "what ends is a promotion");
  if (is_done) {
    enqueue(number, false, highest_level);
  } else {
    set_free(number);
  }
}

void multi_queue_policy::set_dirty(cache_block block, bool is_dirty) {
  const std::uint32_t number = number_of(block);
  const place where = place_of(number);
  require(is_used(number), "a block that becomes dirty or clean is in use");
  if (where == place::none) {
    nodes_[number].set_previous(is_dirty ? 1 : 0);
  } else if (where != (is_dirty ? place::dirty : place::clean)) {
    queue_of(where).remove(number);
    enqueue(number, is_dirty, nodes_[number].level());
  }
}

std::optional<background_work> multi_queue_policy::demote_oldest() {
  const std::optional<std::uint32_t> block = clean_.oldest(multi_queue::nr_levels / 2);
  if (!block) {
    return {};
  }
  take_out(*block, purpose::demoting, false);
  ++nr_being_demoted_;
  return background_work{background_work::kind::demote, cache_block{*block}};
}

std::optional<background_work> multi_queue_policy::write_back_oldest(bool however_new) {
  const std::optional<std::uint32_t> block =
      however_new ? dirty_.oldest() : dirty_.oldest_before_sentinels();
  if (!block) {
    return {};
  }
  take_out(*block, purpose::writing_back, true);
  return background_work{background_work::kind::write_back, cache_block{*block}};
}

void multi_queue_policy::completed(const background_work &work, bool is_done) {
  const std::uint32_t number = number_of(work.block);
  const bool is_demotion = work.task == background_work::kind::demote;
  require(is_busy(number, is_demotion ? purpose::demoting : purpose::writing_back),
          "what ends was asked for");
  const bool was_dirty = nodes_[number].previous() != 0;
  nr_being_demoted_ -= is_demotion ? 1 : 0;
  if (is_demotion && is_done) {
    require(!was_dirty, "a block that is demoted is clean");
    set_free(number);
  } else {
    enqueue(number, was_dirty && !is_done, nodes_[number].level());
  }
}

void multi_queue_policy::invalidated(cache_block block) {
  const std::uint32_t number = number_of(block);
  require(is_used(number), "a block that loses its mapping is in use");
  if (place_of(number) != place::none) {
    queue_of(place_of(number)).remove(number);
  } else if (is_busy(number, purpose::demoting)) {
    --nr_being_demoted_;
  }
  set_free(number);
}

void multi_queue_policy::tick(std::uint64_t seconds) {
  if (sentinel_period_.is_over(seconds)) {
    dirty_.rotate_sentinels();
  }
  if (hit_period_.is_over(seconds)) {
    hit_.clear();
    is_even_ = false;
  }
  if (!is_even_) {
    is_even_ = clean_.redistribute(max_moves) && dirty_.redistribute(max_moves);
  }
}

std::uint32_t multi_queue_policy::hint(cache_block block) const {
  const std::uint32_t number = number_of(block);
  require(is_used(number), "a block of which a hint is asked for is in use");
  return nodes_[number].level();
}

block_account multi_queue_policy::account_of_cached(cache_block block) const {
  const std::uint32_t level = hint(block);
  return {.counts = {{"level", level}},
          .text =
              fmt::format("It stands at level {} of {}: the lower, the sooner it is written back "
                          "and leaves. A hit raises it by one, once a minute at most.",
                          level, highest_level)};
}

result<> multi_queue_policy::set(std::string_view key, std::string_view /*value*/) {
  return fail(failure::usage,
              fmt::format("policy {} has no setting '{}': it takes none", name(), key));
}

} // namespace dmcache
