// The mapping trees on a metadata device that nothing leads to, for a cache whose superblock is
// lost: the one that was in force, and earlier ones, which copy on write leaves behind.
//
// Where the states of the metadata are whole (state_search.h), they tell which tree was in force.
// Otherwise, no block of the format says when it was written, and a device that was used before may
// hold trees of another cache. So a tree counts as older than another one only
//  1. if both say the same,
//  2. or if it has been overwritten in part, and the other one hasn't,
//  3. or if it maps nothing, and the other one does.
// A tree that maps nothing, or mostly can't be read, is never taken while there is another one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/device.h"
#include "base/progress.h"
#include "caching/metadata/state_search.h"
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
  // Looks for mapping trees of `cache_blocks` entries in what `survey` has found on `from`.
  root_search(device &from, const block_survey &survey, std::uint32_t cache_blocks,
              progress &watcher);

  // What was found, by block.
  const std::vector<root_candidate> &candidates() const { return candidates_; }

  // Did the device fail to read a block, so that one may be missing, or seem to have lost something?
  bool has_io_error() const { return has_io_error_; }

  // Which of them has this root.
  std::optional<std::size_t> find(metadata_block root) const;

  struct choice {
    std::size_t best;               // of candidates()
    std::string reason;             // for it, for the user to read
    std::vector<std::string> doubt; // reasons why another one may be right all the same
  };
  // Chooses the candidate that was in force, or nothing if there is none that could have been.
  std::optional<choice> choose(state_search &states);

 private:
  enum class age : std::uint8_t { same, newer, older, unknown };

  void find_candidates();
  std::optional<root_candidate> evaluate(metadata_block root);
  void find_space_maps();
  bool is_poor(const root_candidate &each) const;
  std::size_t choose_by_comparing();
  void doubt_by_comparing(choice &made);
  std::size_t likeliest(std::size_t told, metadata_block last_index) const;
  age compare(const root_candidate &one, const root_candidate &other);

  device &from_;
  std::uint32_t cache_blocks_;
  progress &watcher_;
  const block_survey &survey_;
  std::vector<root_candidate> candidates_;
  std::vector<metadata_block> unexplained_; // space maps that count no candidate as used
  bool has_io_error_ = false;
};

// A superblock, not cleanly shut down, of a cache of which nothing is known but its mapping tree.
superblock superblock_of_tree(metadata_block root, std::uint32_t cache_blocks,
                              std::uint32_t version);

} // namespace dmcache
