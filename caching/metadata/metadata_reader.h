// Everything that a cache's metadata says, for whoever wants to know.
#pragma once

#include <optional>
#include <span>

#include "caching/metadata/mapping_reader.h"

namespace dmcache {

// Is told what read_metadata() finds: mappings, hints, discards, in this order unless it is said
// otherwise, each ascending. The end of each is told even if it was not asked for.
class metadata_visitor {
 public:
  metadata_visitor() = default;
  metadata_visitor(const metadata_visitor &) = delete;
  metadata_visitor &operator=(const metadata_visitor &) = delete;
  virtual ~metadata_visitor() = default;

  virtual void mappings(std::span<const mapping> /*some*/) {}
  virtual void end_of_mappings() {}
  // The hints of cache blocks `first`, first + 1, …, whether these are mapped or not.
  virtual void hints(cache_block /*first*/, std::span<const le32> /*some*/) {}
  virtual void end_of_hints() {}
  // The discard blocks [begin, end) are discarded.
  virtual void discards(std::uint64_t /*begin*/, std::uint64_t /*end*/) {}
  virtual void end_of_discards() {}
};

struct reading {
  dirty_meaning meaning = dirty_meaning::true_state;
  bool mappings = true; // with their dirty bits
  bool hints = true;
  bool discards = true;
  bool together = false;  // hints come between mappings, which is quicker to read
  bool space_map = false; // is compared with what was found in use
};

// Reads what is `wanted` of the metadata that `block`, their superblock, describes. Damage goes to
// the context's sink, and its usage gets the blocks of all that is read, that of the superblock
// included. Returns the origin blocks that more than one cache block claims, if there are any.
std::optional<origin_block_set> read_metadata(const walk_context &context, const superblock &block,
                                              const reading &wanted, metadata_visitor &visitor);

// The same for `trees` that no superblock on the device describes, so that there is no space map to
// compare.
std::optional<origin_block_set> read_trees(const walk_context &context, const superblock &trees,
                                           const reading &wanted, metadata_visitor &visitor);

} // namespace dmcache
