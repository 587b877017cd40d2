// A mapping tree of which nodes are broken, mended in memory by what else is on the device, so that
// all tools find the same mappings.
#pragma once

#include <memory>
#include <optional>

#include "base/patched_device.h"
#include "base/report.h"
#include "caching/metadata/mapping_search.h"
#include "caching/metadata/metadata_reader.h"

namespace dmcache {

class mended_tree {
 public:
  // Looks whether nodes of the mapping tree of `block` are broken; if they are, tells `to` so and
  // makes `block` name a tree that leads to what can be found without them, too. All must outlive
  // this, and `block` says how many cache blocks there are.
  mended_tree(device &from, superblock &block, report &to);

  // Does what read_metadata() does, through the mended tree. Damage below it is told at the root of
  // the original one, as the mended one is in memory only.
  std::optional<origin_block_set> read(damage_sink &damage, const reading &wanted,
                                       metadata_visitor &visitor);

  // What else is on the device.
  const found_mappings &search();

 private:
  void mend();

  device &from_;
  superblock &block_;
  report &to_;
  metadata_block original_;
  std::optional<found_mappings> found_;
  std::unique_ptr<patched_device> patched_; // null if nothing is broken, or can be mended
};

// How many array blocks the mappings of `block` have.
std::uint64_t nr_mapping_parts(const superblock &block);

} // namespace dmcache
