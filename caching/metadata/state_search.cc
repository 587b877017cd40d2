#include "caching/metadata/state_search.h"

#include <algorithm>
#include <ranges>
#include <utility>

#include <fmt/format.h>

#include "caching/metadata/mapping_block.h"
#include "caching/metadata/mapping_format.h"

namespace dmcache {
namespace {

// Bounds memory and time.
constexpr std::size_t max_states = 1024;

// So many states in order are enough to tell where the order begins.
constexpr std::size_t many_states = 8;

const std::vector<std::uint64_t> no_origins;

} // namespace

state_search::state_search(device &from, const block_survey &survey, progress &watcher)
    : from_{from}, survey_{survey}, watcher_{watcher} {
  state_reader reader{from, survey};
  std::vector<metadata_state> unclear;
  for (std::uint64_t block = 0; block < survey.size() && states_.size() < max_states; ++block) {
    if (survey[block].kind != block_kind::space_map_index) {
      continue;
    }
    metadata_state found;
    found.index = metadata_block{block};
    const auto what = reader.read(metadata_block{block}, found);
    if (what == state_reader::finding::whole) {
      states_.push_back(std::move(found));
    } else if (what == state_reader::finding::unclear) {
      unclear.push_back(std::move(found));
    }
  }
  for (const metadata_state &each : unclear) {
    if (std::ranges::none_of(states_, [&](const metadata_state &whole) {
          return reader.is_overwritten(each, whole);
        })) {
      unclear_.push_back(each.index);
    }
  }
}

const metadata_state *state_search::state_at(metadata_block index) const {
  const auto found = std::ranges::find(states_, index, &metadata_state::index);
  return found == states_.end() ? nullptr : &*found;
}

std::vector<std::uint64_t> state_search::sizes() const {
  std::vector<std::uint64_t> sizes;
  for (const metadata_state &each : states_ | std::views::reverse) {
    if (each.cache_blocks != 0 && std::ranges::count(sizes, each.cache_blocks) == 0) {
      sizes.push_back(each.cache_blocks);
    }
  }
  return sizes;
}

std::uint64_t state_search::discard_words_beside(metadata_block mapping_root) const {
  std::uint64_t words = 0;
  for (const metadata_state &each : states_) {
    if (each.mapping_root != mapping_root || each.discard_words == 0) {
      continue;
    }
    if (words != 0 && words != each.discard_words) {
      return 0;
    }
    words = each.discard_words;
  }
  return words;
}

// The origin block of each cache block, plus one; 0 where nothing is mapped.
std::vector<std::uint64_t> state_search::origins_at(std::uint64_t block) {
  std::vector<std::uint64_t> origins;
  for (const mapping_entry entry : read_mapping_block(from_, metadata_block{block})) {
    origins.push_back(entry.is_mapped() ? entry.origin().value() + 1 : 0);
  }
  return origins;
}

state_search::comparison state_search::compare(const metadata_state &one,
                                               const metadata_state &other) {
  comparison made;
  made.differ = one.cache_blocks == other.cache_blocks ? 0 : 1;
  for (std::size_t part = 0; part < std::max(one.parts.size(), other.parts.size()); ++part) {
    const auto part_of = [&](const metadata_state &each) {
      return part < each.parts.size() ? std::optional{each.parts[part]} : std::nullopt;
    };
    if (part_of(one) == part_of(other)) {
      made.same += mappings_per_block; // no more than that
      continue;
    }
    std::vector<std::uint64_t> mine = part_of(one) ? origins_at(*part_of(one)) : no_origins;
    std::vector<std::uint64_t> its = part_of(other) ? origins_at(*part_of(other)) : no_origins;
    mine.resize(std::max(mine.size(), its.size()));
    its.resize(mine.size());
    for (std::size_t i = 0; i < mine.size(); ++i) {
      made.same += mine[i] == its[i] && mine[i] != 0 ? 1U : 0U;
      made.differ += mine[i] != its[i] ? 1U : 0U;
    }
  }
  return made;
}

// Is every block known up to the last one that was written, and that one a state's index? If so,
// nothing was lost but the superblock, and perhaps a block that `best` uses: a newer state would
// have written beside it.
bool state_search::is_complete(const metadata_state &best) const {
  if (states_.empty() || states_.size() == max_states || !unclear_.empty()) {
    return false;
  }
  const std::uint64_t last = states_.back().index.value();
  for (std::uint64_t block = superblock_location.value() + 1; block < survey_.size(); ++block) {
    const bool is_known = survey_[block].kind != block_kind::unknown || block == best.damaged;
    if (is_known != (block <= last)) {
      return false;
    }
  }
  return true;
}

// Are the blocks that only `later` has those that were allocated after `earlier`?
bool state_search::follows(const metadata_state &later, const metadata_state &earlier) {
  return std::ranges::all_of(later.used, [&](std::uint64_t block) {
    return block > earlier.index.value() || std::ranges::binary_search(earlier.used, block);
  });
}

// Of states in order, did the first one come first? The step from the last to the first would be
// that of one transaction otherwise.
bool state_search::begins_with_first(std::span<const metadata_state> states) {
  if (states.front().cache_blocks == 0) {
    for (std::size_t i = 1; i < states.size(); ++i) {
      const std::uint64_t fewer = std::min(states[i - 1].nr_mapped, states[i].nr_mapped);
      if (compare(states[i - 1], states[i]).same * 2 < fewer) {
        return false;
      }
    }
    return true;
  }
  std::uint64_t largest = 0;
  for (std::size_t i = 1; i < states.size(); ++i) {
    largest = std::max(largest, compare(states[i - 1], states[i]).differ);
  }
  return states.size() >= many_states &&
         compare(states.back(), states.front()).differ >= 2 * largest;
}

state_search::verdict state_search::judge() {
  verdict made;
  for (const metadata_block index : unclear_) {
    made.doubt.push_back(fmt::format("the space map at block {} belongs to metadata that can't be "
                                     "made out, and may be newer",
                                     index));
  }
  std::size_t end = 1; // of the first states, which stand in their order
  while (end < states_.size() && follows(states_[end], states_[end - 1])) {
    ++end;
  }
  const auto says_the_same = [&](const metadata_state &one, const metadata_state &other) {
    return one.cache_blocks == 0 || compare(one, other).differ == 0;
  };
  std::size_t best = std::min(end, states_.size());
  while (best > 0 && states_[best - 1].cache_blocks == 0) {
    --best;
  }
  if (best == 0) {
    return made;
  }
  --best;
  watcher_.begin("comparing", states_.size());
  bool is_ordered = true;
  for (std::size_t i = 0; i < states_.size(); ++i) {
    watcher_.advance(1);
    if (i == best || says_the_same(states_[i], states_[best])) {
      continue;
    }
    if (i < best) {
      is_ordered = false;
    } else {
      made.doubt.push_back(other_says(states_[i]));
    }
  }
  if (!is_ordered && !begins_with_first(std::span{states_}.first(end))) {
    for (std::size_t i = 0; i < best; ++i) {
      if (!says_the_same(states_[i], states_[best])) {
        made.doubt.push_back(other_says(states_[i]));
      }
    }
  }
  prefer_what_maps_something(best, made);
  made.is_complete = is_complete(states_[best]);
  made.best = best;
  return made;
}

// What maps nothing is in force only if there is nothing else.
void state_search::prefer_what_maps_something(std::size_t &best, verdict &made) const {
  for (std::size_t i = states_.size(); states_[best].nr_mapped == 0 && i-- > 0;) {
    if (states_[i].nr_mapped != 0) {
      made.doubt.push_back(fmt::format("the tree at block {} maps nothing, and may be newer",
                                       states_[best].mapping_root));
      best = i;
    }
  }
  if (states_[best].nr_mapped == 0 && states_[best].damaged) {
    made.doubt.push_back(fmt::format("the tree at block {} maps nothing, and what can't be read at "
                                     "block {} may be the mappings",
                                     states_[best].mapping_root, *states_[best].damaged));
  }
}

std::string state_search::other_says(const metadata_state &other) {
  return fmt::format("the tree at block {}, of {} cache blocks, says something else, and may be "
                     "newer",
                     other.mapping_root, other.cache_blocks);
}

} // namespace dmcache
