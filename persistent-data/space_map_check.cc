#include "persistent-data/space_map_check.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <unordered_map>
#include <vector>

#include <fmt/format.h>

#include "persistent-data/block_stream.h"
#include "persistent-data/btree_walk.h"

namespace dmcache {
namespace {

constexpr structure_kind kind{structure::space_map, true};

class space_map_checker {
 public:
  space_map_checker(const walk_context &context, const space_map_root &root)
      : context_{context}, root_{root}, nr_blocks_{root.nr_blocks} {}

  void check() {
    if (!size_is_possible() || !read_index()) {
      return;
    }
    read_bitmaps();
    read_ref_counts();
    for (std::size_t i = 0; i < bitmaps_.size(); ++i) {
      if (bitmaps_[i]) {
        check_bitmap(i);
      }
    }
    check_total();
  }

 private:
  // Blocks that are wrong in the same way, told together.
  struct mismatch {
    std::uint64_t begin;
    std::uint64_t end;
    std::uint32_t count;
    bool used;
  };

  bool size_is_possible() {
    const std::uint64_t device_blocks = context_.usage.nr_blocks();
    if (nr_blocks_ == 0 || nr_blocks_ > device_blocks) {
      report(superblock_location, true,
             fmt::format("the space map covers {} blocks, but the device has {}{}", nr_blocks_,
                         device_blocks, nr_blocks_ > device_blocks ? ": is it truncated?" : ""));
      return false;
    }
    return true;
  }

  // The block of the space map that `holder` names; nothing, and damage, if there is none.
  bool claim(metadata_block holder, metadata_block block) {
    const auto refused = context_.usage.claim(block, kind.part);
    if (refused) {
      context_.usage.forget_completeness();
      report(holder, true, "the space map " + *refused);
    }
    return !refused;
  }

  bool read_index() {
    const metadata_block where{root_.bitmap_root};
    if (!claim(superblock_location, where)) {
      return false;
    }
    block_stream blocks{context_.from, 1, [&](std::size_t) { return where; }};
    const auto block = blocks.next();
    if (!believe(space_map_index_type, *block)) {
      return false;
    }
    std::memcpy(&index_, block->data.data(), sizeof index_);
    bitmaps_.resize(divided_up(nr_blocks_, blocks_per_bitmap));
    return true;
  }

  bool believe(const block_type &type, const block_stream::item &block) {
    const std::string fault = block.error ? block.error.message()
                              : fault_of(type, block.where, block.data) != nullptr
                                  ? fault_of(type, block.where, block.data)
                                  : "";
    if (!fault.empty()) {
      context_.usage.forget_completeness();
      report(block.where, true, fault, static_cast<bool>(block.error));
    }
    return fault.empty();
  }

  void read_bitmaps() {
    std::vector<std::size_t> readable;
    for (std::size_t i = 0; i < bitmaps_.size(); ++i) {
      if (claim(metadata_block{root_.bitmap_root}, bitmap_location(i))) {
        readable.push_back(i);
      }
    }
    block_stream blocks{context_.from, readable.size(),
                        [&](std::size_t i) { return bitmap_location(readable[i]); }};
    while (const auto block = blocks.next()) {
      if (believe(space_map_bitmap_type, *block)) {
        auto &bitmap = bitmaps_[readable[block->position]].emplace();
        std::memcpy(&bitmap, block->data.data(), sizeof bitmap);
      }
    }
  }

  metadata_block bitmap_location(std::size_t i) const {
    return metadata_block{index_.entries.at(i).bitmap_block};
  }

  void read_ref_counts() {
    const btree_contents tree = walk_btree(context_, {.root = metadata_block{root_.ref_count_root},
                                                      .value_size = sizeof(le32),
                                                      .key_limit = nr_blocks_,
                                                      .kind = kind,
                                                      .lost_limit = nr_blocks_});
    for (const btree_contents::entry &entry : tree.entries) {
      const auto &bitmap = bitmaps_[entry.key / blocks_per_bitmap];
      if (bitmap && bitmap->count(entry.key % blocks_per_bitmap) != in_ref_count_tree) {
        report(tree.node_of(entry), false,
               fmt::format("the reference count tree has an entry for block {}, which its bitmap "
                           "doesn't send there",
                           entry.key));
      }
      ref_counts_.emplace(entry.key, static_cast<std::uint32_t>(entry.value));
    }
  }

  void check_bitmap(std::size_t i) {
    const std::uint64_t first = i * blocks_per_bitmap;
    const std::uint64_t end = std::min(first + blocks_per_bitmap, nr_blocks_);
    std::uint64_t nr_free = 0;
    std::optional<std::uint64_t> first_free;
    std::optional<mismatch> wrong;
    for (std::uint64_t block = first; block < end; ++block) {
      const std::uint32_t count = count_of(*bitmaps_[i], block, block - first);
      const bool used = context_.usage.is_used(block);
      if (count == 0) {
        ++nr_free;
        first_free = first_free.value_or(block - first);
      }
      if (count == (used ? 1 : 0)) [[likely]] {
        continue;
      }
      if (!wrong || wrong->end != block || wrong->count != count || wrong->used != used) {
        report_mismatch(i, wrong);
        wrong = mismatch{block, block, count, used};
      }
      ++wrong->end;
    }
    report_mismatch(i, wrong);
    nr_allocated_ += end - first - nr_free;
    check_derived(i, nr_free, blocks_per_bitmap - (end - first),
                  first_free.value_or(blocks_per_bitmap));
  }

  std::uint32_t count_of(const space_map_bitmap &bitmap, std::uint64_t block,
                         std::uint64_t entry) const {
    const std::uint32_t count = bitmap.count(entry);
    if (count != in_ref_count_tree) {
      return count;
    }
    const auto large = ref_counts_.find(block);
    return large == ref_counts_.end() ? count : large->second;
  }

  void report_mismatch(std::size_t i, const std::optional<mismatch> &wrong) {
    if (!wrong) {
      return;
    }
    const std::string blocks = wrong->end - wrong->begin == 1
                                   ? fmt::format("block {}", wrong->begin)
                                   : fmt::format("blocks {}-{}", wrong->begin, wrong->end - 1);
    if (wrong->used && wrong->count == 0) {
      report(bitmap_location(i), true,
             fmt::format("the space map counts {} as free, but it is in use", blocks));
    } else if (context_.usage.is_complete()) {
      report(bitmap_location(i), false,
             fmt::format("the space map counts {} uses of {}, but there {}", wrong->count, blocks,
                         wrong->used ? "is one" : "are none: leaked"));
    }
  }

  // The kernel counts as free what lies beyond the end of the device, too; others don't.
  void check_derived(std::size_t i, std::uint64_t nr_free, std::uint64_t beyond,
                     std::uint64_t first_free) {
    const space_map_index_entry &entry = index_.entries.at(i);
    const metadata_block where{root_.bitmap_root};
    if (entry.nr_free != nr_free && entry.nr_free != nr_free + beyond) {
      report(where, false,
             fmt::format("the space map's index says that {} blocks of bitmap {} are free, but {} "
                         "are",
                         std::uint32_t{entry.nr_free}, bitmap_location(i), nr_free));
    }
    if (entry.none_free_before > first_free) {
      report(where, false,
             fmt::format("the space map's index says that none is free before entry {} of bitmap "
                         "{}, but entry {} is",
                         std::uint32_t{entry.none_free_before}, bitmap_location(i), first_free));
    }
  }

  void check_total() {
    const bool all_read =
        std::ranges::all_of(bitmaps_, [](const auto &each) { return each.has_value(); });
    if (all_read && root_.nr_allocated != nr_allocated_) {
      report(superblock_location, false,
             fmt::format("the space map's root says that {} blocks are allocated, but {} are",
                         std::uint64_t{root_.nr_allocated}, nr_allocated_));
    }
    for (std::uint64_t block = nr_blocks_; block < context_.usage.nr_blocks(); ++block) {
      if (context_.usage.is_used(block)) {
        report(superblock_location, true,
               fmt::format("block {} is in use, but beyond the {} that the space map covers", block,
                           nr_blocks_));
      }
    }
  }

  void report(metadata_block where, bool fatal, std::string fault, bool io_error = false) {
    context_.sink.found({kind.part, fatal, where, "", std::move(fault), {}, io_error});
  }

  const walk_context &context_;
  const space_map_root &root_;
  std::uint64_t nr_blocks_;
  space_map_index index_{};
  std::vector<std::optional<space_map_bitmap>> bitmaps_;
  std::unordered_map<std::uint64_t, std::uint32_t> ref_counts_;
  std::uint64_t nr_allocated_ = 0;
};

} // namespace

void check_space_map(const walk_context &context, const space_map_root &root) {
  space_map_checker{context, root}.check();
}

} // namespace dmcache
