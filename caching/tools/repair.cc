#include "caching/tools/repair.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "base/patched_device.h"
#include "caching/metadata/cache_contents.h"
#include "caching/metadata/mapping_format.h"
#include "caching/metadata/mapping_search.h"
#include "caching/metadata/root_search.h"
#include "caching/tools/damage_report.h"
#include "persistent-data/builder.h"

namespace dmcache {
namespace {

constexpr std::uint64_t per_part = array_max_entries(sizeof(le64));

// Is block 0 unreadable, or something other than a superblock?
bool is_lost(device &from) {
  block_stream first{from, 1, [](std::size_t) { return superblock_location; }};
  const auto block = first.next();
  return block->error || fault_of(superblock_type, superblock_location, block->data) != nullptr;
}

result<> agree(const cache_facts &known, const superblock &block) {
  const auto differ = [](const auto &fact, const auto &found) { return fact && *fact != found; };
  std::string difference;
  if (differ(known.data_block_size, block.data_block_size)) {
    difference = fmt::format("a block size of {} sectors", std::uint32_t{block.data_block_size});
  } else if (differ(known.cache_blocks, block.cache_blocks)) {
    difference = fmt::format("{} cache blocks", std::uint32_t{block.cache_blocks});
  } else if (differ(known.version, block.version)) {
    difference = fmt::format("metadata version {}", std::uint32_t{block.version});
  } else if (differ(known.policy, block.policy())) {
    difference = fmt::format("policy '{}'", block.policy());
  }
  return difference.empty()
             ? result<>{}
             : fail(failure::failed, fmt::format("the superblock is sound, and says {}: "
                                                 "what was given contradicts it",
                                                 difference));
}

// Passes damage on. Damage below a tree that was mended is reported at the root of the original
// one, as the mended one is in memory only.
class mended_tree_sink final : public damage_sink {
 public:
  mended_tree_sink(damage_sink &to, metadata_block original) : to_{to}, original_{original} {}

  // The mended tree stands in `size` blocks from `begin` on.
  void mended(metadata_block begin, std::uint64_t size) {
    begin_ = begin;
    end_ = begin + size;
  }

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

// Reads damaged metadata, and writes what can be read.
class repair_work {
 public:
  repair_work(device &from, const cache_facts &known, bool use_stale, report &to)
      : from_{from}, known_{known}, use_stale_{use_stale}, to_{to} {}

  result<> run(const open_device &open) {
    if (auto found = find_superblock(); !found) {
      return found;
    }
    cache_contents contents{output_};
    read(contents);
    auto output = open();
    if (!output) {
      return std::unexpected{output.error()};
    }
    return contents.write(**output);
  }

 private:
  // Sets input_ and output_.
  result<> find_superblock() {
    auto found = read_superblock(from_);
    if (!found && is_lost(from_)) {
      to_.problem(found.error().message);
      return replace_superblock();
    }
    if (!found) {
      return std::unexpected{found.error()};
    }
    if (auto agrees = agree(known_, *found); !agrees) {
      return agrees;
    }
    for (const std::string &fault : faults_of(*found)) {
      damage_.found({structure::superblock, true, superblock_location, "", fault, {}});
    }
    if (!is_legal_data_block_size(found->data_block_size)) {
      return fail(failure::failed, "without a block size nothing can be repaired");
    }
    input_ = *found;
    output_ = input_;
    mend_policy(output_);
    output_.metadata_block_size = metadata_block_size / sector_size;
    return {};
  }

  result<> replace_superblock() {
    if (!known_.data_block_size || !known_.cache_blocks) {
      return fail(failure::failed,
                  "the superblock is lost: cache_repair can search for the mappings if "
                  "--block-size and --nr-cache-blocks are given");
    }
    root_search search{from_, *known_.cache_blocks, to_.watcher()};
    const auto choice = search.choose();
    if (!choice) {
      return fail(failure::failed, fmt::format("the superblock is lost, and no mapping tree of {} "
                                               "cache blocks can be found",
                                               *known_.cache_blocks));
    }
    const root_candidate &best = search.candidates().at(choice->best);
    for (const std::string &doubt : choice->doubt) {
      to_.problem(doubt);
    }
    if (!choice->doubt.empty() && !use_stale_) {
      return fail(failure::failed,
                  fmt::format("which mapping tree was in force is in doubt: --list-roots shows "
                              "them, and --use-stale takes the one at block {} all the same",
                              best.root));
    }
    if (best.has_dirty_flags && known_.version == 2) {
      return fail(failure::failed, fmt::format("the mapping tree at block {} has dirty flags, as "
                                               "metadata of version 1 have them",
                                               best.root));
    }
    to_.problem(
        fmt::format("took the mapping tree at block {}, which maps {} of {} cache blocks: {}",
                    best.root, best.nr_mapped, *known_.cache_blocks, choice->reason));
    // Version 1 has mappings and dirty flags in one tree, so that nothing else is needed.
    input_ = superblock_of_tree(best.root, *known_.cache_blocks, 1);
    input_.data_block_size = *known_.data_block_size;
    output_ = input_;
    output_.version = known_.version.value_or(best.has_dirty_flags ? 1 : 2);
    const std::string policy = known_.policy.value_or("");
    std::ranges::copy(policy, output_.policy_name.begin());
    std::ranges::copy(own_version_of_policy(policy), output_.policy_version.begin());
    return {};
  }

  void read(cache_contents &contents) {
    const bool trusted = input_.is_clean();
    mended_tree_sink sink{damage_, metadata_block{input_.mapping_root}};
    const auto patched = mend_tree();
    if (patched) {
      sink.mended(*found_->room, tree_room(nr_parts()));
    }
    device &from = patched ? static_cast<device &>(*patched) : from_;
    block_usage usage{from.size()};
    const auto ambiguous = read_metadata(
        {from, usage, sink, to_.watcher()}, input_,
        {.hints = trusted && output_.policy_hint_size != 0, .discards = trusted}, contents);
    damage_.explain();
    if (ambiguous) {
      to_.problem(fmt::format("{} mappings to origin blocks that more than one cache block claims "
                              "were left out: which is right can't be told",
                              contents.drop(*ambiguous)));
    }
    tell_losses(contents);
    if (!trusted) {
      to_.problem(fmt::format("not cleanly shut down: all {} mapped blocks are dirty in the "
                              "output, and hints and discards are left out",
                              contents.nr_mapped()));
    }
    const bool fits_origin =
        input_.knows_origin_size() && contents.origin_end() <= input_.max_origin_blocks();
    if (!fits_origin) { // or the discard fields are wrong, which are the cheapest to lose
      contents.drop_discards();
    }
    contents.described().flags = superblock::clean_shutdown;
  }

  // If nodes of the mapping tree are broken, returns a device on which a new tree leads to what can
  // be found without them; input_ names that tree from then on.
  std::unique_ptr<patched_device> mend_tree() {
    class told_later final : public damage_sink {
     public:
      void found(const damage &finding) override {
        lost += finding.lost ? describe(finding) + "\n" : "";
      }
      std::string lost;
    };
    block_usage usage{from_.size()};
    told_later broken;
    walk_btree({from_, usage, broken, to_.watcher()}, {.root = metadata_block{input_.mapping_root},
                                                       .value_size = sizeof(le64),
                                                       .key_limit = nr_parts(),
                                                       .kind = {structure::mappings, true},
                                                       .lost_limit = input_.cache_blocks});
    if (broken.lost.empty()) {
      return {};
    }
    search();
    if (found_->nr_found == 0 || !found_->room) {
      return {};
    }
    to_.problem(broken.lost.substr(0, broken.lost.size() - 1));
    to_.problem(fmt::format("the mapping tree is broken: {} of its {} array blocks were found by "
                            "what else is on the device",
                            found_->nr_found, nr_parts()));
    auto patched = std::make_unique<patched_device>(
        from_, offset_of(*found_->room), bytes{tree_room(nr_parts()) * metadata_block_size});
    block_writer out{*patched, *found_->room};
    input_.mapping_root = build_btree(out, sizeof(le64), found_->in_force).value();
    out.finish();
    return patched;
  }

  void search() {
    if (!found_) {
      found_ = search_mappings(from_, input_, to_.watcher());
    }
  }

  void tell_losses(cache_contents &contents) {
    const std::vector<key_range> lost = damage_.lost_mappings();
    for (const key_range &blocks : lost) {
      to_.problem(
          fmt::format("lost: the mappings of cache blocks {}-{}", blocks.begin, blocks.end - 1));
    }
    if (lost.empty() || is_replaced()) {
      return;
    }
    search();
    for (const auto &[part, block] : found_->older) {
      const std::string blocks =
          fmt::format("cache blocks {}-{}", part * per_part,
                      std::min<std::uint64_t>((part + 1) * per_part, input_.cache_blocks) - 1);
      if (use_stale_) {
        to_.problem(fmt::format("{}: took {} mappings from an earlier version, at block {}; they "
                                "are dirty, and may be wrong",
                                blocks, add_older(contents, part, block), block));
      } else {
        to_.problem(fmt::format("{}: an earlier version of the mappings is at block {}; "
                                "--use-stale takes it",
                                blocks, block));
      }
    }
  }

  std::uint64_t nr_parts() const { return divided_up(input_.cache_blocks, per_part); }

  // Was the superblock lost?
  bool is_replaced() const { return input_.space_map.nr_blocks == 0; }

  // Adds the mappings of an earlier version that don't contradict `contents`; returns how many.
  std::uint64_t add_older(cache_contents &contents, std::uint64_t part, std::uint64_t block) {
    block_stream one{from_, 1, [&](std::size_t) { return metadata_block{block}; }};
    const auto read = one.next();
    if (read->error) {
      return 0;
    }
    array_block_header header;
    std::memcpy(&header, read->data.data(), sizeof header);
    std::uint64_t added = 0;
    for (std::uint64_t i = 0; i < std::min<std::uint64_t>(header.nr_entries, per_part); ++i) {
      le64 stored;
      std::memcpy(&stored, read->data.data() + sizeof header + i * sizeof stored, sizeof stored);
      if (const auto entry = mapping_entry::decode(stored); entry.is_mapped()) {
        const auto refused = contents.add({cache_block{part * per_part + i}, entry.origin(), true});
        added += refused ? 0U : 1U;
      }
    }
    return added;
  }

  device &from_;
  const cache_facts &known_;
  bool use_stale_;
  report &to_;
  damage_report damage_{to_};
  superblock input_{};
  superblock output_{};
  std::optional<found_mappings> found_;
};

} // namespace

result<> repair(device &from, const cache_facts &known, bool use_stale, const open_device &open,
                report &to) {
  return repair_work{from, known, use_stale, to}.run(open);
}

result<> list_roots(device &from, const cache_facts &known, report &to) {
  const auto block = read_superblock(from);
  if (!block && !known.cache_blocks) {
    return fail(block.error().kind,
                fmt::format("{}; to search without a superblock, give --nr-cache-blocks",
                            block.error().message));
  }
  if (block) {
    if (auto agrees = agree(known, *block); !agrees) {
      return agrees;
    }
  }
  const std::uint32_t cache_blocks =
      block ? std::uint32_t{block->cache_blocks} : *known.cache_blocks;
  root_search search{from, cache_blocks, to.watcher()};
  for (const root_candidate &each : search.candidates()) {
    std::string line = fmt::format("block {}: maps {} of {} cache blocks", each.root,
                                   each.nr_mapped, cache_blocks);
    if (each.nr_lost != 0) {
      line += fmt::format(", {} can't be read", each.nr_lost);
    }
    if (each.is_overwritten) {
      line += ", partly overwritten";
    }
    if (!each.space_maps.empty()) {
      line += fmt::format(", space map at block {}", each.space_maps.back());
    }
    if (block && block->mapping_root == each.root.value()) {
      line += ", in force";
    }
    to.answer(line);
  }
  if (search.candidates().empty()) {
    return fail(failure::failed,
                fmt::format("no mapping tree of {} cache blocks can be found", cache_blocks));
  }
  return {};
}

} // namespace dmcache
