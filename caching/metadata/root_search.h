// The mapping trees on a metadata device that nothing leads to, for a cache whose superblock is
// lost: the one that was in force, and earlier ones, which copy on write leaves behind.
//
// No block of the format says when it was written, and a device that was used before may hold trees
// of another cache. So a tree counts as older than another one only
//  1. if both say the same,
//  2. or if it has been overwritten in part, and the other one hasn't,
//  3. or if it maps nothing, and the other one does,
//  4. or if both have blocks in common, and those that only the other one has stand above those
//     that only this one has; and if, moreover, a block below these, free in both, still holds what
//     an even older tree left there. Blocks are allocated upwards, and from the bottom again with
//     each activation: as the allocation has not come by that block since, the upper blocks are the
//     later ones.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/device.h"
#include "base/progress.h"
#include "caching/metadata/superblock.h"
#include "persistent-data/block_survey.h"

namespace dmcache {

struct root_candidate {
  metadata_block root;
  std::uint64_t nr_mapped = 0;
  std::uint64_t nr_lost = 0;              // cache blocks whose mapping can't be read
  bool has_dirty_flags = false;           // in the mappings, as version 1 has them
  bool is_overwritten = false;            // some of its blocks are something else by now
  std::vector<metadata_block> space_maps; // indexes of those that count all its blocks as used
  std::vector<metadata_block> blocks;     // all that it uses; ascending
};

class root_search {
 public:
  // Scans `from` for mapping trees of `cache_blocks` entries.
  root_search(device &from, std::uint32_t cache_blocks, progress &watcher);

  // What was found, by block.
  const std::vector<root_candidate> &candidates() const { return candidates_; }

  struct choice {
    std::size_t best;               // of candidates()
    std::string reason;             // for it, for the user to read
    std::vector<std::string> doubt; // reasons why another one may be right all the same
  };
  // Chooses the candidate that was in force, or nothing if there are none.
  std::optional<choice> choose();

 private:
  enum class age : std::uint8_t { same, newer, older, unknown };

  void find_candidates();
  std::optional<root_candidate> evaluate(metadata_block root);
  void find_space_maps();
  std::optional<std::size_t> named_by_remains();
  age compare(const root_candidate &one, const root_candidate &other);
  bool is_allocated_later(const root_candidate &one, const root_candidate &other) const;

  device &from_;
  std::uint32_t cache_blocks_;
  progress &watcher_;
  block_survey survey_;
  std::vector<root_candidate> candidates_;
  std::vector<metadata_block> unexplained_; // space maps that count no candidate as used
};

// A superblock, not cleanly shut down, of a cache of which nothing is known but its mapping tree.
superblock superblock_of_tree(metadata_block root, std::uint32_t cache_blocks,
                              std::uint32_t version);

} // namespace dmcache
