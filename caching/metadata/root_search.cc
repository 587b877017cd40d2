#include "caching/metadata/root_search.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include <fmt/format.h>

#include "base/lazy_array.h"
#include "caching/metadata/mapping_format.h"
#include "caching/metadata/metadata_reader.h"
#include "persistent-data/btree_walk.h"
#include "persistent-data/space_map_reader.h"

namespace dmcache {
namespace {

// Bounds memory and time: no cache leaves so many old trees behind.
constexpr std::size_t max_candidates = 1024;

constexpr std::uint64_t array_blocks_for(std::uint64_t entries) {
  return divided_up(entries, mappings_per_block);
}

class quiet_sink final : public damage_sink {
 public:
  void found(const damage &finding) override {
    io_error = io_error || finding.io_error;
    if (finding.lost) {
      lost.push_back(*finding.lost);
    } else {
      contradicts_itself = true;
    }
  }

  std::vector<key_range> lost;
  bool contradicts_itself = false;
  bool io_error = false;
};

// The mappings of a tree, as a number for each cache block.
class mapped_origins final : public metadata_visitor {
 public:
  static constexpr std::uint64_t unmapped = 0;
  static constexpr std::uint64_t lost = std::numeric_limits<std::uint64_t>::max();

  explicit mapped_origins(std::uint32_t cache_blocks) : of_{cache_blocks} {}

  void mappings(std::span<const mapping> some) override {
    for (const mapping &each : some) {
      of_[each.cached_in.value()] = each.origin.value() + 1;
    }
  }
  void lose(key_range blocks) {
    std::ranges::fill(of_.span().subspan(blocks.begin, blocks.end - blocks.begin), lost);
  }
  std::span<const std::uint64_t> all() const { return of_.span(); }

 private:
  lazy_array<std::uint64_t> of_;
};

class tree_summary final : public metadata_visitor {
 public:
  void mappings(std::span<const mapping> some) override {
    nr_mapped += some.size();
    has_dirty_flags = has_dirty_flags || std::ranges::any_of(some, &mapping::dirty);
  }

  std::uint64_t nr_mapped = 0;
  bool has_dirty_flags = false;
};

// How many keys there are in all ranges; those in several of them count once.
std::uint64_t total(std::vector<key_range> ranges) {
  std::ranges::sort(ranges, {}, &key_range::begin);
  std::uint64_t sum = 0;
  std::uint64_t end = 0;
  for (const key_range &each : ranges) {
    sum += each.end > end ? each.end - std::max(each.begin, end) : 0;
    end = std::max(end, each.end);
  }
  return sum;
}

} // namespace

superblock superblock_of_tree(metadata_block root, std::uint32_t cache_blocks,
                              std::uint32_t version) {
  superblock block{};
  block.magic = superblock::magic_value;
  block.version = version;
  block.metadata_block_size = metadata_block_size / sector_size;
  block.cache_blocks = cache_blocks;
  block.mapping_root = root.value();
  return block;
}

root_search::root_search(device &from, const block_survey &survey, std::uint32_t cache_blocks,
                         progress &watcher)
    : from_{from}, cache_blocks_{cache_blocks}, watcher_{watcher}, survey_{survey} {
  if (cache_blocks != 0 && array_blocks_for(cache_blocks) <= survey_.size()) {
    find_candidates();
    find_space_maps();
  }
}

void root_search::find_candidates() {
  const std::uint64_t nr_array_blocks = array_blocks_for(cache_blocks_);
  for (std::uint64_t block = 0; block < survey_.size(); ++block) {
    const surveyed_block &found = survey_[block];
    const bool is_whole_tree =
        found.kind == block_kind::leaf_node && found.nr_entries == nr_array_blocks;
    const bool may_be_root =
        found.kind == block_kind::internal_node && nr_array_blocks > found.nr_entries;
    if (found.value_size != sizeof(le64) || (!is_whole_tree && !may_be_root)) {
      continue;
    }
    if (auto candidate = evaluate(metadata_block{block})) {
      candidates_.push_back(std::move(*candidate));
    }
    if (candidates_.size() == max_candidates) {
      return;
    }
  }
}

// A tree of which some entries are missing is a part of a larger one, or has lost a node: it is no
// candidate. One of which array blocks are lost still is.
std::optional<root_candidate> root_search::evaluate(metadata_block root) {
  root_candidate candidate;
  candidate.root = root;
  {
    block_usage usage{from_.size()};
    quiet_sink sink;
    const btree_contents tree =
        walk_btree({from_, usage, sink, watcher_}, {.root = root,
                                                    .value_size = sizeof(le64),
                                                    .key_limit = array_blocks_for(cache_blocks_),
                                                    .kind = {structure::mappings, true},
                                                    .lost_limit = cache_blocks_});
    has_io_error_ = has_io_error_ || sink.io_error;
    if (sink.contradicts_itself || !sink.lost.empty() ||
        tree.entries.size() != array_blocks_for(cache_blocks_)) {
      return {};
    }
    for (const btree_contents::entry &entry : tree.entries) {
      if (entry.value >= survey_.size()) {
        return {};
      }
      const surveyed_block &block = survey_[entry.value];
      const std::uint64_t expected =
          std::min(mappings_per_block, cache_blocks_ - entry.key * mappings_per_block);
      candidate.is_overwritten =
          candidate.is_overwritten ||
          (block.kind != block_kind::unknown &&
           (!block.is_array_block_of(sizeof(le64)) || block.nr_entries != expected));
    }
  }
  block_usage usage{from_.size()};
  quiet_sink sink;
  tree_summary summary;
  read_trees({from_, usage, sink, watcher_}, superblock_of_tree(root, cache_blocks_, 1),
             {.meaning = dirty_meaning::as_stored, .hints = false, .discards = false}, summary);
  has_io_error_ = has_io_error_ || sink.io_error;
  if (sink.contradicts_itself) {
    return {};
  }
  candidate.nr_mapped = summary.nr_mapped;
  candidate.has_dirty_flags = summary.has_dirty_flags;
  candidate.nr_lost = total(std::move(sink.lost));
  for (std::uint64_t block = 0; block < usage.nr_blocks(); ++block) {
    if (usage.is_used(block)) {
      candidate.blocks.emplace_back(block);
    }
  }
  return candidate;
}

void root_search::find_space_maps() {
  for (std::uint64_t index = 0; index < survey_.size(); ++index) {
    if (survey_[index].kind != block_kind::space_map_index) {
      continue;
    }
    const auto used = read_used_blocks(from_, metadata_block{index},
                                       [this](auto, auto) { has_io_error_ = true; });
    if (!used || index >= used->size() || !(*used)[index]) { // a space map counts itself, too
      continue;
    }
    bool explains = false;
    for (root_candidate &each : candidates_) {
      if (std::ranges::all_of(each.blocks, [&](metadata_block block) {
            return block.value() < used->size() && (*used)[block.value()];
          })) {
        each.space_maps.emplace_back(index);
        explains = true;
      }
    }
    if (!explains) {
      unexplained_.emplace_back(index);
    }
  }
}

root_search::age root_search::compare(const root_candidate &one, const root_candidate &other) {
  const auto read = [&](const root_candidate &each, mapped_origins &origins) {
    block_usage usage{from_.size()};
    quiet_sink sink;
    read_trees({from_, usage, sink, watcher_}, superblock_of_tree(each.root, cache_blocks_, 1),
               {.meaning = dirty_meaning::as_stored, .hints = false, .discards = false}, origins);
    for (const key_range &blocks : sink.lost) {
      origins.lose(blocks);
    }
  };
  mapped_origins origins_of_one{cache_blocks_};
  mapped_origins origins_of_other{cache_blocks_};
  read(one, origins_of_one);
  read(other, origins_of_other);
  std::uint64_t only_one = 0;
  std::uint64_t only_other = 0;
  std::uint64_t changed = 0;
  for (std::size_t i = 0; i < cache_blocks_; ++i) {
    const std::uint64_t mine = origins_of_one.all()[i];
    const std::uint64_t its = origins_of_other.all()[i];
    if (mine == its || mine == mapped_origins::lost || its == mapped_origins::lost) {
      continue;
    }
    only_one += its == mapped_origins::unmapped ? 1 : 0;
    only_other += mine == mapped_origins::unmapped ? 1 : 0;
    changed += its != mapped_origins::unmapped && mine != mapped_origins::unmapped ? 1 : 0;
  }
  if (only_one + only_other + changed == 0) {
    return age::same;
  }
  if (one.is_overwritten != other.is_overwritten) {
    return other.is_overwritten ? age::newer : age::older;
  }
  if ((one.nr_mapped == 0) != (other.nr_mapped == 0)) {
    return other.nr_mapped == 0 ? age::newer : age::older;
  }
  return age::unknown;
}

std::optional<std::size_t> root_search::find(metadata_block root) const {
  const auto found = std::ranges::find(candidates_, root, &root_candidate::root);
  return found == candidates_.end()
             ? std::nullopt
             : std::optional{static_cast<std::size_t>(found - candidates_.begin())};
}

// Does it map nothing, or can most of it not be read?
bool root_search::is_poor(const root_candidate &each) const {
  return each.nr_mapped == 0 || each.nr_lost * 2 > cache_blocks_;
}

std::size_t root_search::choose_by_comparing() {
  std::size_t best = candidates_.size() - 1;
  for (std::size_t i = candidates_.size() - 1; i-- > 0;) {
    watcher_.advance(1);
    const age compared = compare(candidates_[i], candidates_[best]);
    const bool is_more_complete =
        compared == age::same && candidates_[i].nr_lost < candidates_[best].nr_lost;
    const bool is_richer = is_poor(candidates_[best]) && !is_poor(candidates_[i]);
    if (compared == age::newer || is_more_complete || is_richer) {
      best = i;
    }
  }
  return best;
}

// Where space maps are missing, a tree above the last one that isn't is likely to be newer.
std::size_t root_search::likeliest(std::size_t told, metadata_block last_index) const {
  for (std::size_t i = candidates_.size(); i-- > 0;) {
    const root_candidate &each = candidates_[i];
    if (each.root > last_index && !is_poor(each) && !each.is_overwritten) {
      return i;
    }
  }
  return told;
}

void root_search::doubt_by_comparing(choice &made) {
  const root_candidate &best = candidates_[made.best];
  for (std::size_t i = 0; i < candidates_.size(); ++i) {
    watcher_.advance(1);
    if (i == made.best) {
      continue;
    }
    const age compared = compare(best, candidates_[i]);
    if (compared == age::older || compared == age::unknown) {
      made.doubt.push_back(fmt::format("the tree at block {} says something else, and may be newer",
                                       candidates_[i].root));
    }
  }
  for (const metadata_block index : unexplained_) {
    if (best.space_maps.empty() || index > best.space_maps.back()) {
      made.doubt.emplace_back(
          fmt::format("the space map at block {} belongs to a mapping tree that "
                      "can't be found, and may be newer",
                      index));
    }
  }
  if (candidates_.size() == max_candidates) {
    made.doubt.emplace_back("there are too many trees to compare all of them");
  }
}

std::optional<root_search::choice> root_search::choose(state_search &states) {
  if (candidates_.empty()) {
    return {};
  }
  watcher_.begin("comparing", 2 * candidates_.size());
  const state_search::verdict verdict = states.judge();
  const metadata_state *in_force = verdict.best ? &states.states()[*verdict.best] : nullptr;
  const auto told = in_force != nullptr && in_force->cache_blocks == cache_blocks_
                        ? find(in_force->mapping_root)
                        : std::nullopt;
  choice made{told.value_or(0), "", verdict.doubt};
  const auto first = made.best;
  if (!told) {
    made.best = choose_by_comparing();
    const bool is_size_known = std::ranges::count(states.sizes(), cache_blocks_) != 0;
    const bool is_poor_choice = is_poor(candidates_[made.best]);
    if (in_force != nullptr && (!is_size_known || (in_force->nr_mapped != 0 && is_poor_choice))) {
      return {};
    }
    made.doubt.emplace_back(
        in_force == nullptr
            ? "no space map accounts for a whole cache"
            : fmt::format("the tree at block {}, of {} cache blocks, which a space map accounts "
                          "for, has another size",
                          in_force->mapping_root, in_force->cache_blocks));
  }
  if (!told || !verdict.is_complete) {
    doubt_by_comparing(made);
  }
  if (told && !verdict.is_complete && !made.doubt.empty()) {
    made.best = likeliest(first, in_force->index);
  }
  if (made.doubt.empty()) {
    made.reason = verdict.is_complete ? "the space maps on the device tell that it was the last one"
                                      : "each of the others says the same or is older";
  }
  return made;
}

} // namespace dmcache
