// The states of a cache's metadata that are still whole on a device, and which of them was in
// force, for a cache whose superblock is lost.
//
// Each commit writes a new index of the space map, and so leaves a mark behind: the index counts
// all blocks that were in use then, and if trees are found that account for them, and nothing has
// been written over, the state is whole. It says, too, which of its trees holds the mappings and of
// how many cache blocks: the dirty bitset and the hint array must have sizes to match.
//
// The kernel allocates blocks upwards, the index of a transaction last, and begins at the bottom
// again with each activation. So the states of one activation stand on the device in their order,
// and the last one stands below whatever earlier activations have left. It is believed only if
//  1. all states say the same;
//  2. or the first state is that of a device just formatted, each one has its new blocks between
//     its predecessor's index and its own, and maps about the same;
//  3. or there are many such states, the first of them any, and the step from the last to the first
//     is by far the largest of all, as it is not if the order begins anywhere else.
// Where blocks are unreadable in between, or the last block written is no state's, a newer one may
// be lost; but not where the only one of them is a block that the state itself uses, as copy on write
// would have left that alone.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/device.h"
#include "base/progress.h"
#include "caching/metadata/state_reader.h"
#include "persistent-data/block_survey.h"

namespace dmcache {

class state_search {
 public:
  // Looks at all space maps that `survey` has found on `from`.
  state_search(device &from, const block_survey &survey, progress &watcher);

  // Those that are whole, by index.
  const std::vector<metadata_state> &states() const { return states_; }
  // That which has this index, if it is whole.
  const metadata_state *state_at(metadata_block index) const;
  // How many cache blocks there are in them; the latest first.
  std::vector<std::uint64_t> sizes() const;

  // How many words the bitset of discards has in the states with these mappings that have one; 0 if
  // there are none, or they differ.
  std::uint64_t discard_words_beside(metadata_block mapping_root) const;

  struct verdict {
    std::optional<std::size_t> best; // of states(); none if there are none with mappings
    bool is_complete = false;        // nothing was found that could be the rest of a newer state
    std::vector<std::string> doubt;  // why another state may have been in force
  };
  verdict judge();

 private:
  struct comparison { // of mappings
    std::uint64_t same = 0;
    std::uint64_t differ = 0;
  };

  comparison compare(const metadata_state &one, const metadata_state &other);
  std::vector<std::uint64_t> origins_at(std::uint64_t block);
  bool is_complete(const metadata_state &best) const;
  static bool follows(const metadata_state &later, const metadata_state &earlier);
  bool begins_with_first(std::span<const metadata_state> states);
  void prefer_what_maps_something(std::size_t &best, verdict &made) const;
  static std::string other_says(const metadata_state &other);

  device &from_;
  const block_survey &survey_;
  progress &watcher_;
  std::vector<metadata_state> states_;
  std::vector<metadata_block> unclear_; // indexes of what may be states
};

} // namespace dmcache
