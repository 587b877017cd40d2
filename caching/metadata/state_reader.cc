#include "caching/metadata/state_reader.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <limits>
#include <span>
#include <utility>

#include "caching/metadata/mapping_block.h"
#include "caching/metadata/mapping_format.h"
#include "caching/metadata/mapping_writer.h"
#include "persistent-data/btree_node.h"
#include "persistent-data/space_map_reader.h"

namespace dmcache {
namespace {

// Bounds memory.
constexpr std::size_t max_nodes = 65536;

bool is_node(const surveyed_block &block) {
  return block.kind == block_kind::leaf_node || block.kind == block_kind::internal_node;
}

} // namespace

state_reader::state_reader(device &from, const block_survey &survey)
    : from_{from}, survey_{survey} {
  read_nodes();
  summarize_array_blocks();
}

template <typename Wanted, typename Take> void state_reader::read_each(Wanted wanted, Take take) {
  std::vector<std::uint64_t> blocks;
  for (std::uint64_t block = 0; block < survey_.size(); ++block) {
    if (wanted(survey_[block])) {
      blocks.push_back(block);
    }
  }
  block_stream stream{from_, blocks.size(),
                      [&](std::size_t i) { return metadata_block{blocks[i]}; }};
  while (const auto block = stream.next()) {
    if (!block->error) {
      take(*block);
    }
  }
}

void state_reader::read_nodes() {
  std::size_t count = 0;
  const auto wanted = [&](const surveyed_block &block) {
    return is_node(block) && block.value_size == sizeof(le64) && ++count <= max_nodes;
  };
  read_each(wanted, [&](const block_stream::item &block) {
    const btree_node content{block.data};
    if (!content.header_fault(sizeof(le64), true).empty() ||
        !content.key_fault({0, std::numeric_limits<std::uint64_t>::max()}).empty()) {
      return;
    }
    node &read = nodes_[block.where.value()];
    read.is_leaf = content.is_leaf();
    for (std::size_t i = 0; i < content.size(); ++i) {
      read.keys.push_back(content.key(i));
      read.values.push_back(content.value(i));
    }
  });
}

void state_reader::summarize_array_blocks() {
  const auto wanted = [](const surveyed_block &block) {
    return block.is_array_block_of(sizeof(le64));
  };
  read_each(wanted, [&](const block_stream::item &block) {
    array_block_summary &summary = summaries_[block.where.value()];
    for (const mapping_entry entry : mapping_entries_in(block.data)) {
      const std::uint64_t known = mapping_entry::valid | mapping_entry::dirty;
      summary.nr_mapped += entry.is_mapped() ? 1U : 0U;
      summary.is_plausible =
          summary.is_plausible &&
          (entry.is_mapped() ? (entry.flags() & ~known) == 0 : entry.encode() == 0);
    }
  });
}

state_reader::finding state_reader::read(metadata_block index, metadata_state &into) {
  const auto used = read_used_blocks(from_, index);
  if (!used) { // one of its bitmaps has been overwritten, unless it can't be read
    return has_unknown_bitmap(index) ? finding::unclear : finding::gone;
  }
  if (index.value() >= used->size() || !(*used)[index.value()]) {
    return finding::gone; // the bitmap is a later one's
  }
  into.index = index;
  into.used.clear();
  for (std::uint64_t block = 0; block < used->size(); ++block) {
    if ((*used)[block]) {
      into.used.push_back(block);
    }
  }
  const std::uint64_t nr_bitmaps = used->size() / blocks_per_bitmap;
  return explain(nr_bitmaps, into) ? finding::whole : finding::unclear;
}

bool state_reader::is_overwritten(const metadata_state &former, const metadata_state &by) const {
  return std::ranges::any_of(former.used, [&](std::uint64_t block) {
    const auto found = nodes_.find(block);
    return found != nodes_.end() && std::ranges::binary_search(by.used, block) &&
           std::ranges::any_of(found->second.values, [&](std::uint64_t child) {
             return !std::ranges::binary_search(former.used, child);
           });
  });
}

bool state_reader::has_unknown_bitmap(metadata_block index) {
  block_stream one{from_, 1, [&](std::size_t) { return index; }};
  const auto block = one.next();
  space_map_index content;
  std::memcpy(&content, block->data.data(), sizeof content);
  const std::uint64_t nr_bitmaps = divided_up(survey_.size(), blocks_per_bitmap);
  return block->error ||
         std::ranges::any_of(std::span{content.entries}.first(
                                 std::min<std::size_t>(nr_bitmaps, content.entries.size())),
                             [&](const space_map_index_entry &each) {
                               return each.bitmap_block < survey_.size() &&
                                      each.bitmap_block != 0 &&
                                      survey_[each.bitmap_block].kind == block_kind::unknown;
                             });
}

// Do all blocks that are in use make a superblock, a space map, and the trees of one cache? One of
// them may be unreadable.
bool state_reader::explain(std::uint64_t nr_bitmaps, metadata_state &state) {
  std::set<std::uint64_t> open{state.used.begin(), state.used.end()}; // not accounted for
  if (!take_space_map(nr_bitmaps, state, open) || !note_damage(state)) {
    return false;
  }
  std::vector<tree> trees;
  for (const std::uint64_t root : roots_among(state.used)) {
    tree found;
    found.root = metadata_block{root};
    const std::vector<std::uint64_t> &keys = nodes_.at(root).keys;
    found.is_broken = state.damaged && !keys.empty() && keys.front() != 0;
    if (!follow(root, state, open, found)) {
      return false;
    }
    trees.push_back(std::move(found));
  }
  const bool is_node_lost = (state.damaged && open.erase(*state.damaged) != 0) ||
                            std::ranges::any_of(trees, &tree::is_broken);
  if (!is_node_lost && !open.empty()) {
    return false;
  }
  leave_out_broken(trees, open);
  measure_by_hints(trees);
  return choose_mappings(trees, {is_node_lost, std::move(open)}, state);
}

// False if more than one block can't be read: so many could hide anything.
bool state_reader::note_damage(metadata_state &state) const {
  for (const std::uint64_t block : state.used) {
    if (block == superblock_location.value() || survey_[block].kind != block_kind::unknown) {
      continue;
    }
    if (state.damaged) {
      return false;
    }
    state.damaged = block;
  }
  return true;
}

bool state_reader::take_space_map(std::uint64_t nr_bitmaps, const metadata_state &state,
                                  std::set<std::uint64_t> &open) const {
  if (state.used.back() >= survey_.size() || open.erase(superblock_location.value()) == 0 ||
      open.erase(state.index.value()) == 0) {
    return false;
  }
  std::uint64_t bitmaps = 0;
  std::uint64_t ref_counts = 0;
  for (const std::uint64_t block : state.used) {
    const surveyed_block &found = survey_[block];
    if (found.kind == block_kind::space_map_bitmap) {
      bitmaps += open.erase(block);
    } else if (found.kind == block_kind::leaf_node && found.value_size == sizeof(le32)) {
      ref_counts += open.erase(block);
    }
  }
  return bitmaps == nr_bitmaps && ref_counts <= 1;
}

// The nodes that no other one leads to.
std::set<std::uint64_t> state_reader::roots_among(const std::vector<std::uint64_t> &used) const {
  std::set<std::uint64_t> roots;
  std::ranges::copy_if(used, std::inserter(roots, roots.end()),
                       [&](std::uint64_t block) { return nodes_.contains(block); });
  for (const std::uint64_t block : used) {
    if (const auto inner = nodes_.find(block); inner != nodes_.end() && !inner->second.is_leaf) {
      for (const std::uint64_t child : inner->second.values) {
        roots.erase(child);
      }
    }
  }
  return roots;
}

// Takes the blocks of the tree out of those that are not accounted for.
bool state_reader::follow(std::uint64_t block, const metadata_state &state,
                          std::set<std::uint64_t> &open, tree &into) {
  if (block == state.damaged) {
    into.is_broken = true;
    return open.erase(block) != 0;
  }
  const auto found = nodes_.find(block);
  if (found == nodes_.end() || open.erase(block) == 0) {
    return false;
  }
  const node &at = found->second;
  if (!at.is_leaf) {
    return std::ranges::all_of(
        at.values, [&](std::uint64_t child) { return follow(child, state, open, into); });
  }
  for (std::size_t i = 0; i < at.values.size(); ++i) {
    const bool is_next = into.is_broken || at.keys[i] == into.parts.size();
    if (!is_next || open.erase(at.values[i]) == 0 || !append(at.values[i], state, into)) {
      return false;
    }
  }
  return true;
}

// All array blocks of a tree are full, but for the last one.
bool state_reader::append(std::uint64_t block, const metadata_state &state, tree &to) const {
  const surveyed_block &found = survey_[block];
  if (to.is_broken || block == state.damaged) {
    to.has_unknown_end = true;
    to.parts.push_back(block);
    return true;
  }
  if (found.kind != block_kind::array_block || found.value_size == 0) {
    return false;
  }
  to.value_size = to.value_size == 0 ? found.value_size : to.value_size;
  if (std::exchange(to.has_unknown_end, false)) { // it was not the end
    to.nr_entries = to.parts.size() * array_max_entries(to.value_size);
  }
  if (found.value_size != to.value_size ||
      to.nr_entries != to.parts.size() * array_max_entries(to.value_size)) {
    return false;
  }
  to.nr_entries += found.nr_entries;
  to.parts.push_back(block);
  return true;
}

// Of a tree that lacks a node, nobody knows how many array blocks there were before these.
void state_reader::leave_out_broken(std::vector<tree> &trees, std::set<std::uint64_t> &orphans) {
  for (const tree &each : trees) {
    if (each.is_broken) {
      orphans.insert(each.parts.begin(), each.parts.end());
    }
  }
  std::erase_if(trees, [](const tree &each) { return each.is_broken; });
}

// There are as many hints as mappings, so that they tell how many were in the last array block of
// these.
void state_reader::measure_by_hints(std::vector<tree> &trees) {
  const auto hints = std::ranges::find_if(trees, [](const tree &each) {
    return each.value_size == sizeof(le32) && !each.has_unknown_end;
  });
  for (tree &each : trees) {
    if (hints != trees.end() && each.value_size == sizeof(le64) && each.has_unknown_end &&
        divided_up(hints->nr_entries, mappings_per_block) == each.parts.size()) {
      each.nr_entries = hints->nr_entries;
      each.has_unknown_end = false;
    }
  }
}

// Version 1 has trees of mappings and discards, version 2 one of dirty bits besides; both may
// have one of hints. One of them may be missing, or of unknown size, if a block can't be read.
bool state_reader::choose_mappings(const std::vector<tree> &trees, const loss &lost,
                                   metadata_state &state) const {
  std::vector<const tree *> bits_or_mappings;
  const tree *hints = nullptr;
  for (const tree &each : trees) {
    if (each.value_size != sizeof(le32)) {
      bits_or_mappings.push_back(&each);
    } else if (hints != nullptr) {
      return false;
    } else {
      hints = &each;
    }
  }
  if (!state.damaged && bits_or_mappings.size() != 2 && bits_or_mappings.size() != 3) {
    return false;
  }
  const bool has_dirty_bits = bits_or_mappings.size() == 3;
  std::vector<candidate> candidates;
  for (const tree *each : bits_or_mappings) {
    candidate found{each, 0, hints != nullptr && hints->nr_entries == each->nr_entries,
                    std::ranges::any_of(bits_or_mappings, [&](const tree *other) {
                      return other != each && other->nr_entries == words_for(each->nr_entries);
                    })};
    if ((found.has_bits || !has_dirty_bits || state.damaged) &&
        can_be_mappings(*each, state, found.nr_mapped)) {
      candidates.push_back(found);
    }
  }
  const auto chosen = choose_among(candidates);
  if (!chosen || (state.damaged && !is_proven(*chosen, lost, state))) {
    return false;
  }
  state.mapping_root = chosen->of->root;
  state.cache_blocks = chosen->of->nr_entries;
  state.nr_mapped = chosen->nr_mapped;
  state.parts = chosen->of->parts;
  if (state.damaged) {
    return true; // which tree holds the discards isn't known
  }
  // Beside the mappings stand the discards, and the dirty bits, as the third, if there are any.
  std::uint64_t nr_words = has_dirty_bits ? 0 - words_for(state.cache_blocks) : 0;
  for (const tree *each : bits_or_mappings) {
    nr_words += each->root == state.mapping_root ? 0 : each->nr_entries;
  }
  state.discard_words = nr_words;
  return true;
}

std::optional<state_reader::candidate>
state_reader::choose_among(std::vector<candidate> candidates) {
  const auto keep = [&](auto wanted) {
    if (std::ranges::any_of(candidates, wanted)) {
      std::erase_if(candidates, [&](const candidate &each) { return !wanted(each); });
    }
  };
  keep([](const candidate &each) { return each.has_hints; });
  keep([](const candidate &each) { return each.nr_mapped != 0; });
  if (candidates.empty() || (candidates.size() > 1 && candidates.front().nr_mapped != 0)) {
    return {};
  }
  return *std::ranges::max_element(candidates, {},
                                   [](const candidate &each) { return each.of->nr_entries; });
}

// Is this the tree of the mappings, though something can't be read that might be that tree? Bits pass
// for a few mappings at most, and the blocks of a lost tree of mappings would be among the orphans.
bool state_reader::is_proven(const candidate &chosen, const loss &lost,
                             const metadata_state &state) const {
  constexpr std::uint64_t few = 8;
  const bool is_confirmed = chosen.has_hints || chosen.has_bits;
  const bool is_told_by_itself = chosen.nr_mapped != 0 && (is_confirmed || chosen.nr_mapped >= few);
  const bool is_damaged_itself = std::ranges::count(chosen.of->parts, *state.damaged) != 0;
  if (!is_told_by_itself && !lost.is_node && !(is_confirmed && is_damaged_itself)) {
    return false;
  }
  std::uint64_t nr_entries = 0;
  for (const std::uint64_t block : lost.orphans) {
    const auto summary = summaries_.find(block);
    if (summary == summaries_.end() || !summary->second.is_plausible) {
      continue;
    }
    if (summary->second.nr_mapped != 0) {
      return false;
    }
    nr_entries += survey_[block].nr_entries;
  }
  return nr_entries < chosen.of->nr_entries || lost.orphans.empty();
}

bool state_reader::can_be_mappings(const tree &each, const metadata_state &state,
                                   std::uint64_t &nr_mapped) const {
  return !each.has_unknown_end && std::ranges::all_of(each.parts, [&](std::uint64_t block) {
    const auto summary = summaries_.find(block);
    if (summary == summaries_.end()) {
      return block == state.damaged;
    }
    nr_mapped += summary->second.nr_mapped;
    return summary->second.is_plausible;
  });
}

} // namespace dmcache
