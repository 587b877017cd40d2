// One state of a cache's metadata, made out from the index of its space map: which blocks it uses,
// and which of its trees holds the mappings. state_search.h tells what that is good for.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "base/device.h"
#include "persistent-data/block_stream.h"
#include "persistent-data/block_survey.h"

namespace dmcache {

struct metadata_state {
  metadata_block index; // of its space map
  metadata_block mapping_root;
  std::uint64_t cache_blocks = 0; // 0: just formatted
  std::uint64_t nr_mapped = 0;
  std::uint64_t discard_words = 0;        // of the bitset of discards; 0 if there are none
  std::vector<std::uint64_t> parts;       // the array blocks of the mappings, in order
  std::vector<std::uint64_t> used;        // all blocks; ascending
  std::optional<std::uint64_t> damaged{}; // the one of these that can't be read, if there is one
};

class state_reader {
 public:
  // Reads all nodes and array blocks that `survey` has found on `from`, so that no state needs to.
  state_reader(device &from, const block_survey &survey);

  enum class finding : std::uint8_t {
    whole,   // but for one block at most, which isn't needed to tell which tree holds the mappings
    unclear, // what is used could not be made out
    gone,    // overwritten by later ones
  };
  // Reads the state whose space map has this index.
  finding read(metadata_block index, metadata_state &into);

  // Has a block of what was a state been overwritten for a later one? So it has if it is a node of
  // both, and leads to what the former one doesn't count as used.
  bool is_overwritten(const metadata_state &former, const metadata_state &by) const;

 private:
  struct node {
    bool is_leaf;
    std::vector<std::uint64_t> keys;
    std::vector<std::uint64_t> values;
  };

  // What an array block of 64-bit entries could mean if they were mappings.
  struct array_block_summary {
    std::uint64_t nr_mapped = 0;
    bool is_plausible = true;
  };

  // A tree of an array, all of whose blocks are there, or all but one array block.
  struct tree {
    metadata_block root;
    std::size_t value_size = 0; // of the entries; 0 if there are none, or none can be read
    std::uint64_t nr_entries = 0;
    std::vector<std::uint64_t> parts;
    bool has_unknown_end = false; // the last array block can't be read, and isn't counted
    bool is_broken = false;       // a node can't be read, so that entries are missing
  };

  // What comes of a block that can't be read.
  struct loss {
    bool is_node;
    std::set<std::uint64_t> orphans; // array blocks that nothing leads to then
  };

  struct candidate {
    const tree *of;
    std::uint64_t nr_mapped;
    bool has_hints; // of the same number
    bool has_bits;  // a tree of as many bits
  };

  template <typename Wanted, typename Take> void read_each(Wanted wanted, Take take);
  void read_nodes();
  void summarize_array_blocks();
  bool has_unknown_bitmap(metadata_block index);
  bool explain(std::uint64_t nr_bitmaps, metadata_state &state);
  bool note_damage(metadata_state &state) const;
  bool take_space_map(std::uint64_t nr_bitmaps, const metadata_state &state,
                      std::set<std::uint64_t> &open) const;
  std::set<std::uint64_t> roots_among(const std::vector<std::uint64_t> &used) const;
  bool follow(std::uint64_t block, const metadata_state &state, std::set<std::uint64_t> &open,
              tree &into);
  bool append(std::uint64_t block, const metadata_state &state, tree &to) const;
  static void leave_out_broken(std::vector<tree> &trees, std::set<std::uint64_t> &orphans);
  static void measure_by_hints(std::vector<tree> &trees);
  bool choose_mappings(const std::vector<tree> &trees, const loss &lost,
                       metadata_state &state) const;
  static std::optional<candidate> choose_among(std::vector<candidate> candidates);
  bool is_proven(const candidate &chosen, const loss &lost, const metadata_state &state) const;
  bool can_be_mappings(const tree &each, const metadata_state &state,
                       std::uint64_t &nr_mapped) const;

  device &from_;
  const block_survey &survey_;
  std::map<std::uint64_t, node> nodes_;                    // with values of 8 bytes
  std::map<std::uint64_t, array_block_summary> summaries_; // with entries of 8 bytes
};

} // namespace dmcache
