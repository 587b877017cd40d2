// Everything that a cache's metadata says, for whoever wants to know.
#pragma once

#include <optional>
#include <span>

#include "caching/metadata/mapping_reader.h"

namespace dmcache {

// Is told what read_metadata() finds, in this order; each part ascends. A part's end is told even
// if it was not asked for.
class metadata_visitor {
 public:
  metadata_visitor() = default;
  metadata_visitor(const metadata_visitor &) = delete;
  metadata_visitor &operator=(const metadata_visitor &) = delete;
  virtual ~metadata_visitor() = default;

  virtual void mappings(std::span<const mapping> /*some*/) {}
  virtual void end_of_mappings() {}
  // Of cache blocks `first`, first + 1, …, mapped or not.
  virtual void hints(cache_block /*first*/, std::span<const le32> /*some*/) {}
  virtual void end_of_hints() {}
  // Discard blocks [begin, end) are discarded.
  virtual void discards(std::uint64_t /*begin*/, std::uint64_t /*end*/) {}
  virtual void end_of_discards() {}
};

struct reading {
  dirty_meaning meaning = dirty_meaning::true_state;
  bool mappings = true; // with their dirty bits
  bool hints = true;
  bool discards = true;
};

// Reads what `what` asks for. Damage goes to the context's sink. Returns the origin blocks that
// more than one cache block claims, if there are any.
std::optional<origin_block_set> read_metadata(const walk_context &context, const superblock &block,
                                              const reading &what, metadata_visitor &visitor);

} // namespace dmcache
