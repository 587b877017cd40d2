#include "caching/metadata/mapping_search.h"

#include <algorithm>
#include <map>
#include <optional>

#include "caching/metadata/mapping_block.h"
#include "caching/metadata/mapping_format.h"
#include "caching/metadata/metadata_reader.h"
#include "persistent-data/block_survey.h"
#include "persistent-data/space_map_check.h"
#include "persistent-data/space_map_reader.h"

namespace dmcache {
namespace {

// Bounds of memory and time: a cache leaves less than that behind.
constexpr std::size_t max_old_leaves = 1024;
constexpr std::size_t max_compared = 2048;

class mapping_searcher {
 public:
  mapping_searcher(device &from, const superblock &block, progress &watcher)
      : from_{from}, superblock_{block}, watcher_{watcher}, survey_{survey_blocks(from, watcher)},
        usage_{from.size()}, nr_parts_{divided_up(block.cache_blocks, mappings_per_block)} {}

  found_mappings search() {
    read_what_is_sound();
    read_old_leaves();
    if (used_) {
      place_by_own_leaves();
      place_by_old_leaves();
      place_by_size();
      place_alike(missing_parts(), orphans());
      if (!accounts_for_all()) {
        unproven_ = std::exchange(placed_, {});
      }
    }
    found_mappings found;
    found.nr_found = placed_.size();
    found.room = usage_.find_unused(usage_.nr_blocks(), tree_room(nr_parts_));
    known_.merge(placed_);
    find_older(found.older);
    found.in_force.assign(known_.begin(), known_.end());
    return found;
  }

 private:
  struct old_leaf {
    found_mappings::parts entries;
    std::size_t agreements = 0; // with what is in force
  };

  void read_what_is_sound() {
    damage_counter ignored;
    const walk_context context{from_, usage_, ignored, watcher_};
    metadata_visitor nobody;
    read_metadata(context, superblock_, {.mappings = false}, nobody);
    check_space_map(context, superblock_.space_map);
    read_dirty_bitset(context, superblock_);
    const bool others_are_sound = usage_.is_complete();
    const btree_contents tree =
        walk_btree(context, {.root = metadata_block{superblock_.mapping_root},
                             .value_size = sizeof(le64),
                             .key_limit = nr_parts_,
                             .kind = {structure::mappings, true},
                             .lost_limit = superblock_.cache_blocks});
    for (const btree_contents::entry &entry : tree.entries) {
      if (!usage_.claim(metadata_block{entry.value}, structure::mappings)) {
        known_.emplace(entry.key, entry.value);
      }
    }
    if (others_are_sound) {
      used_ = read_used_blocks(from_, metadata_block{superblock_.space_map.bitmap_root});
    }
    for (std::uint64_t at = 0; used_ && at < usage_.nr_blocks(); ++at) {
      if (usage_.is_used(at) && (at >= used_->size() || !(*used_)[at])) {
        used_.reset(); // it can't be relied on
      }
    }
  }

  // Is the block in use, though nothing leads to it?
  bool is_orphan(std::uint64_t block) const {
    return block < usage_.nr_blocks() && used_ && block < used_->size() && (*used_)[block] &&
           !usage_.is_used(block);
  }

  bool is_missing(std::uint64_t part) const {
    return part < nr_parts_ && !known_.contains(part) && !placed_.contains(part);
  }

  bool is_part(std::uint64_t block) const { return survey_[block].is_array_block_of(sizeof(le64)); }

  bool can_be(std::uint64_t part, std::uint64_t block) const {
    return block < survey_.size() && is_part(block) &&
           survey_[block].nr_entries ==
               std::min(mappings_per_block, superblock_.cache_blocks - part * mappings_per_block);
  }

  void place(std::uint64_t part, std::uint64_t block) {
    placed_.emplace(part, block);
    usage_.claim(metadata_block{block}, structure::mappings);
  }

  found_mappings::parts leaf_at(std::uint64_t block) {
    block_stream one{from_, 1, [&](std::size_t) { return metadata_block{block}; }};
    const auto read = one.next();
    return read->error ? found_mappings::parts{} : read_leaf(read->where, read->data);
  }

  bool is_leaf(std::uint64_t block) const {
    return survey_[block].kind == block_kind::leaf_node &&
           survey_[block].value_size == sizeof(le64);
  }

  void read_old_leaves() {
    for (std::uint64_t block = survey_.size(); block-- > 0 && old_.size() < max_old_leaves;) {
      if (is_leaf(block) && !usage_.is_used(block) && !is_orphan(block)) {
        old_leaf leaf{leaf_at(block)};
        for (const auto &[part, at] : leaf.entries) {
          const auto known = known_.find(part);
          const bool agrees =
              known != known_.end() ? known->second == at : part < nr_parts_ && is_orphan(at);
          leaf.agreements += agrees ? 1U : 0U;
        }
        old_.push_back(std::move(leaf));
      }
    }
    std::ranges::stable_sort(old_, std::ranges::greater{}, &old_leaf::agreements);
  }

  // Believes leaves that are in force themselves, but have lost their parent.
  void place_by_own_leaves() {
    std::map<std::uint64_t, std::vector<std::uint64_t>> claims;
    for (std::uint64_t block = 0; block < survey_.size(); ++block) {
      if (is_leaf(block) && is_orphan(block)) {
        for (const auto &[part, at] : leaf_at(block)) {
          claims[part].push_back(at);
        }
        usage_.claim(metadata_block{block}, structure::mappings);
      }
    }
    for (const auto &[part, blocks] : claims) {
      if (blocks.size() == 1 && is_missing(part) && is_orphan(blocks.front())) {
        place(part, blocks.front());
      }
    }
  }

  void place_by_old_leaves() {
    for (const old_leaf &leaf : old_) {
      for (const auto &[part, block] : leaf.entries) {
        if (is_missing(part) && is_orphan(block) && !is_disputed(leaf, part, block)) {
          place(part, block);
        }
      }
    }
  }

  // Does another leaf, as near to what is in force, say that `block` is another part?
  bool is_disputed(const old_leaf &by, std::uint64_t part, std::uint64_t block) const {
    return std::ranges::any_of(old_, [&](const old_leaf &leaf) {
      return leaf.agreements >= by.agreements / 2 &&
             std::ranges::any_of(leaf.entries, [&](const auto &entry) {
               return entry.second == block && entry.first != part;
             });
    });
  }

  std::optional<std::uint64_t> older_version_of(std::uint64_t part) const {
    for (const old_leaf &leaf : old_) {
      for (const auto &[other, block] : leaf.entries) {
        if (other == part && can_be(part, block) && !usage_.is_used(block)) {
          return block;
        }
      }
    }
    return {};
  }

  std::vector<mapping_entry> entries_at(std::uint64_t block) {
    return read_mapping_block(from_, metadata_block{block});
  }

  bool maps_something(std::uint64_t block) {
    return std::ranges::any_of(entries_at(block), is_something);
  }

  static bool is_something(mapping_entry entry) { return entry.encode() != 0; }

  // At least half of what is mapped in the earlier version is so in the later one.
  static bool resemble(const std::vector<mapping_entry> &earlier,
                       const std::vector<mapping_entry> &later) {
    constexpr std::size_t few = 8;
    std::size_t mapped = 0;
    std::size_t same = 0;
    for (std::size_t i = 0; i < std::min(earlier.size(), later.size()); ++i) {
      mapped += is_something(earlier[i]) ? 1U : 0U;
      same += is_something(earlier[i]) && earlier[i] == later[i] ? 1U : 0U;
    }
    return same >= few && same * 2 >= mapped;
  }

  std::vector<std::uint64_t> missing_parts() const {
    std::vector<std::uint64_t> parts;
    for (std::uint64_t part = 0; part < nr_parts_; ++part) {
      if (is_missing(part)) {
        parts.push_back(part);
      }
    }
    return parts;
  }

  std::vector<std::uint64_t> orphans() const {
    std::vector<std::uint64_t> blocks;
    for (std::uint64_t block = 0; block < survey_.size(); ++block) {
      if (is_orphan(block)) {
        blocks.push_back(block);
      }
    }
    return blocks;
  }

  // Places what is known by its size: the last part is the only one of its size, and so is another
  // one if it alone is missing.
  void place_by_size() {
    const std::vector<std::uint64_t> parts = missing_parts();
    const std::vector<std::uint64_t> blocks = orphans();
    const auto place_only = [&](std::span<const std::uint64_t> of_one_size) {
      const auto fits = [&](std::uint64_t block) { return can_be(of_one_size.front(), block); };
      if (of_one_size.size() == 1 && std::ranges::count_if(blocks, fits) == 1) {
        place(of_one_size.front(), *std::ranges::find_if(blocks, fits));
      }
    };
    const bool differ = superblock_.cache_blocks % mappings_per_block != 0;
    const bool ends_with_last = differ && !parts.empty() && parts.back() == nr_parts_ - 1;
    place_only(std::span{parts}.first(parts.size() - (ends_with_last ? 1 : 0)));
    place_only(std::span{parts}.last(ends_with_last ? 1 : 0));
  }

  // Places each part whose earlier version resembles one of `blocks` only, if that block resembles
  // no other part.
  void place_alike(std::span<const std::uint64_t> parts, std::span<const std::uint64_t> blocks) {
    if (parts.size() > max_compared || blocks.size() > max_compared) {
      return;
    }
    std::vector<std::vector<mapping_entry>> later;
    for (const std::uint64_t block : blocks) {
      later.push_back(is_part(block) ? entries_at(block) : std::vector<mapping_entry>{});
    }
    std::map<std::uint64_t, std::vector<std::uint64_t>> parts_of; // by block
    std::map<std::uint64_t, std::size_t> nr_blocks_of;            // by part
    for (const std::uint64_t part : parts) {
      const auto older = older_version_of(part);
      const auto earlier = older ? entries_at(*older) : std::vector<mapping_entry>{};
      for (std::size_t i = 0; i < blocks.size(); ++i) {
        if (can_be(part, blocks[i]) && resemble(earlier, later[i])) {
          parts_of[blocks[i]].push_back(part);
          ++nr_blocks_of[part];
        }
      }
    }
    for (const auto &[block, alike] : parts_of) {
      if (alike.size() == 1 && nr_blocks_of[alike.front()] == 1) {
        place(alike.front(), block);
      }
    }
  }

  // Is there, for each part that is still missing, one block that is in use for something unknown?
  bool accounts_for_all() const {
    std::uint64_t missing = 0;
    std::uint64_t orphans = 0;
    for (std::uint64_t part = 0; part < nr_parts_; ++part) {
      missing += is_missing(part) ? 1U : 0U;
    }
    for (std::uint64_t block = 0; block < survey_.size(); ++block) {
      const bool is_inner = survey_[block].kind == block_kind::internal_node;
      orphans += is_orphan(block) && !is_inner ? 1U : 0U;
    }
    return missing == orphans;
  }

  void find_older(found_mappings::parts &older) {
    for (std::uint64_t part = 0; part < nr_parts_; ++part) {
      const auto known = known_.find(part);
      if (known != known_.end() && can_be(part, known->second)) {
        continue;
      }
      if (const auto unproven = unproven_.find(part); unproven != unproven_.end()) {
        older.emplace_back(*unproven);
      } else if (const auto block = older_version_of(part); block && maps_something(*block)) {
        older.emplace_back(part, *block);
      }
    }
  }

  device &from_;
  const superblock &superblock_;
  progress &watcher_;
  block_survey survey_;
  block_usage usage_; // by all that is known to be in force
  std::uint64_t nr_parts_;
  std::map<std::uint64_t, std::uint64_t> known_;  // block by part, as the tree has it
  std::map<std::uint64_t, std::uint64_t> placed_; // the same, as found
  std::map<std::uint64_t, std::uint64_t> unproven_;
  std::optional<std::vector<bool>> used_; // nothing if what else is in use isn't known
  std::vector<old_leaf> old_;             // nearest to what is in force first
};

} // namespace

found_mappings search_mappings(device &from, const superblock &block, progress &watcher) {
  return mapping_searcher{from, block, watcher}.search();
}

} // namespace dmcache
