#include "caching/tools/mended_tree.h"

#include <string>

#include <fmt/format.h>

#include "base/assert.h"
#include "caching/metadata/mapping_format.h"
#include "caching/tools/damage_report.h"
#include "persistent-data/btree_walk.h"
#include "persistent-data/builder.h"

namespace dmcache {
namespace {

// Passes damage on, and moves what is in a mended tree.
class mended_tree_sink final : public damage_sink {
 public:
  // Damage in `size` blocks from `begin` on is told at `original`.
  mended_tree_sink(damage_sink &to, metadata_block original, metadata_block begin,
                   std::uint64_t size)
      : to_{to}, original_{original}, begin_{begin}, end_{begin + size} {}

  void found(const damage &finding) override {
    damage told = finding;
    if (told.block >= begin_ && told.block < end_) {
      told.block = original_;
      told.path.clear();
    }
    to_.found(told);
  }

 private:
  damage_sink &to_;
  metadata_block original_;
  metadata_block begin_;
  metadata_block end_;
};

class told_later final : public damage_sink {
 public:
  void found(const damage &finding) override {
    lost += finding.lost ? describe(finding) + "\n" : "";
  }
  std::string lost;
};

} // namespace

std::uint64_t nr_mapping_parts(const superblock &block) {
  return divided_up(block.cache_blocks, mappings_per_block);
}

mended_tree::mended_tree(device &from, superblock &block, report &to)
    : from_{from}, block_{block}, to_{to}, original_{block.mapping_root} {
  mend();
}

void mended_tree::mend() {
  block_usage usage{from_.size()};
  told_later broken;
  walk_btree({from_, usage, broken, to_.watcher()}, {.root = original_,
                                                     .value_size = sizeof(le64),
                                                     .key_limit = nr_mapping_parts(block_),
                                                     .kind = {structure::mappings, true},
                                                     .lost_limit = block_.cache_blocks});
  if (broken.lost.empty()) {
    return;
  }
  search();
  if (found_->nr_found == 0 || !found_->room) {
    return;
  }
  to_.problem(broken.lost.substr(0, broken.lost.size() - 1));
  to_.problem(fmt::format("the mapping tree is broken: {} of its {} array blocks were found by "
                          "what else is on the device",
                          found_->nr_found, nr_mapping_parts(block_)));
  patched_ = std::make_unique<patched_device>(
      from_, offset_of(*found_->room),
      bytes{tree_room(nr_mapping_parts(block_)) * metadata_block_size});
  block_writer out{*patched_, *found_->room};
  block_.mapping_root = build_btree(out, sizeof(le64), found_->in_force).value();
  const auto failed = out.finish();
  require(!failed, "memory takes all that is written");
}

std::optional<origin_block_set> mended_tree::read(damage_sink &damage, const reading &wanted,
                                                  metadata_visitor &visitor) {
  device &from = patched_ ? static_cast<device &>(*patched_) : from_;
  block_usage usage{from.size()};
  mended_tree_sink sink{damage, original_, patched_ ? *found_->room : metadata_block{0},
                        patched_ ? tree_room(nr_mapping_parts(block_)) : 0};
  return read_metadata({from, usage, sink, to_.watcher()}, block_, wanted, visitor);
}

const found_mappings &mended_tree::search() {
  if (!found_) {
    found_ = search_mappings(from_, block_, to_.watcher());
  }
  return *found_;
}

} // namespace dmcache
