#include "caching/simulation/eager_policy.h"

#include <algorithm>
#include <utility>

#include "base/assert.h"

namespace dmcache {

eager_policy::eager_policy(const policy_geometry &geometry, std::uint64_t seed)
    : entries_(geometry.nr_cache_blocks), chance_{seed}, promotes_one_in_{chance_.between(1, 3)},
      writes_back_one_in_{chance_.between(1, 20)} {}

eager_policy::entry &eager_policy::used(cache_block block) {
  entry &found = of(block);
  require(found.is == state::clean || found.is == state::dirty, "the block is used");
  return found;
}

void eager_policy::load(cache_block block, origin_block /*of*/, bool is_dirty,
                        std::optional<std::uint32_t> hint) {
  entry &found = of(block);
  require(found.is == state::free, "a block that is loaded was free");
  found.is = is_dirty ? state::dirty : state::clean;
  found.hint = hint.value_or(0);
}

void eager_policy::hit(cache_block block) {
  ++used(block).hint;
}

// One of those in this state, and not busy, from a random one on.
std::optional<cache_block> eager_policy::any(state wanted) {
  const std::uint64_t start = chance_.below(entries_.size());
  for (std::uint64_t i = 0; i < entries_.size(); ++i) {
    const std::uint64_t at = (start + i) % entries_.size();
    if (entries_[at].is == wanted && !entries_[at].is_busy) {
      return cache_block{at};
    }
  }
  return {};
}

std::optional<cache_block> eager_policy::miss(origin_block /*block*/, promotion possible) {
  if (possible == promotion::none || !chance_.one_in(promotes_one_in_)) {
    return {};
  }
  const auto found = any(state::free);
  wants_room_ = !found;
  if (found) {
    of(*found).is = state::reserved;
    of(*found).hint = static_cast<std::uint32_t>(chance_());
  }
  return found;
}

void eager_policy::promoted(cache_block block, bool is_done) {
  require(of(block).is == state::reserved, "what is promoted was reserved");
  of(block).is = is_done ? state::clean : state::free;
}

void eager_policy::mark_dirty(cache_block block) {
  used(block).is = state::dirty;
}

void eager_policy::mark_clean(cache_block block) {
  used(block).is = state::clean;
}

std::optional<background_work> eager_policy::next_demotion() {
  if (!std::exchange(wants_room_, false)) {
    return {};
  }
  return busy(background_work::kind::demote, any(state::clean));
}

std::optional<background_work> eager_policy::next_work(bool is_idle) {
  if (const auto demotion = next_demotion()) {
    return demotion;
  }
  if (is_idle || chance_.one_in(writes_back_one_in_)) {
    return busy(background_work::kind::write_back, any(state::dirty));
  }
  return {};
}

std::optional<background_work> eager_policy::busy(background_work::kind task,
                                                  std::optional<cache_block> block) {
  if (!block) {
    return {};
  }
  of(*block).is_busy = true;
  return background_work{task, *block};
}

void eager_policy::completed(const background_work &work, bool is_done) {
  entry &found = used(work.block);
  require(found.is_busy, "what is completed was begun");
  found.is_busy = false;
  if (is_done) {
    found.is = work.task == background_work::kind::demote ? state::free : state::clean;
  }
}

void eager_policy::invalidated(cache_block block) {
  used(block) = {};
}

result<> eager_policy::set(std::string_view /*key*/, std::string_view /*value*/) {
  return fail(failure::usage, "the eager policy has no tunables");
}

std::uint64_t eager_policy::nr_free() const {
  return static_cast<std::uint64_t>(std::ranges::count(entries_, state::free, &entry::is));
}

} // namespace dmcache
