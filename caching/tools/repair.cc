#include "caching/tools/repair.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "caching/metadata/cache_contents.h"
#include "caching/metadata/mapping_block.h"
#include "caching/metadata/mapping_writer.h"
#include "caching/metadata/root_search.h"
#include "caching/tools/damage_report.h"
#include "caching/tools/lost_superblock.h"
#include "caching/tools/mended_tree.h"

namespace dmcache {
namespace {

constexpr std::size_t max_told = 100; // ranges of blocks

// Reads damaged metadata, and writes what can be read.
class repair_work {
 public:
  repair_work(device &from, const cache_facts &known, bool use_stale, report &to)
      : from_{from}, known_{known}, use_stale_{use_stale}, to_{to} {}

  result<repair_losses> run(const open_device &open) {
    auto found = find_superblocks(from_, known_, use_stale_, to_);
    if (!found) {
      return std::unexpected{found.error()};
    }
    input_ = found->input;
    output_ = found->output;
    if (auto plausible = check_size(); !plausible) {
      return std::unexpected{plausible.error()};
    }
    for (const std::string &fault : found->faults) {
      damage_.found({structure::superblock, true, superblock_location, "", fault, {}});
    }
    cache_contents contents{output_};
    read(contents);
    if (auto fits = agree_on_mappings(known_, contents.origin_end(), output_.data_block_size);
        !fits) {
      return std::unexpected{fits.error()};
    }
    auto output = open();
    if (!output) {
      return std::unexpected{output.error()};
    }
    if (auto written = contents.write(**output, to_.watcher()); !written) {
      return std::unexpected{written.error()};
    }
    summarize(contents);
    return repair_losses{total(at_stake_), damage_.has_io_error() || found->device_failed};
  }

 private:
  // What is written is as large as the superblock says that the cache is. One that fits nothing, be
  // it what is there or what the superblock says was there, is wrong.
  result<> check_size() const {
    const std::uint64_t needed = blocks_of_mappings(input_);
    const std::uint64_t nr_blocks = std::max<std::uint64_t>(
        input_.space_map.nr_blocks, from_.size().value() / metadata_block_size);
    if (needed < nr_blocks) {
      return {};
    }
    return fail(failure::failed,
                fmt::format("the superblock contradicts itself: it says that the cache has {} "
                            "blocks, whose mappings alone fill {} KiB, and that the metadata have "
                            "{}; nothing was written: cache_dump --repair shows what there is",
                            std::uint32_t{input_.cache_blocks}, needed * metadata_block_size / 1024,
                            nr_blocks * metadata_block_size / 1024));
  }

  void read(cache_contents &contents) {
    const bool trusted = input_.is_clean();
    mended_tree mended{from_, input_, to_};
    const auto ambiguous = mended.read(
        damage_, {.hints = trusted && output_.policy_hint_size != 0, .discards = trusted},
        contents);
    damage_.explain();
    if (ambiguous) {
      drop_ambiguous(contents, *ambiguous);
    }
    tell_losses(contents, mended);
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

  // What is dropped while it is clean is on the origin as well.
  void drop_ambiguous(cache_contents &contents, const origin_block_set &ambiguous) {
    for (const cache_contents::location &each : contents.dirty_blocks()) {
      if (ambiguous.contains(each.origin)) {
        at_stake_.push_back({each.cached_in.value(), each.cached_in.value() + 1});
      }
    }
    to_.problem(fmt::format("{} mappings to origin blocks that more than one cache block claims "
                            "were left out: which is right can't be told",
                            contents.drop(ambiguous)));
  }

  // Adds what the tree maps of cache blocks that there are none of, by what the superblock says.
  void note_mappings_beyond() {
    damage_counter told_already;
    block_usage usage{from_.size()};
    const walk_context context{from_, usage, told_already, to_.watcher()};
    array_reader entries{context,
                         {.root = metadata_block{input_.mapping_root},
                          .value_size = sizeof(le64),
                          .nr_entries = {},
                          .kind = {structure::mappings, true},
                          .lost_limit = input_.cache_blocks}};
    while (const auto leaf = entries.next()) {
      for (std::uint64_t i = 0; i < leaf->count; ++i) {
        le64 stored;
        std::memcpy(&stored, leaf->values.data() + i * sizeof stored, sizeof stored);
        if (leaf->first + i >= input_.cache_blocks && mapping_entry::decode(stored).is_mapped()) {
          at_stake_.push_back({leaf->first + i, leaf->first + i + 1});
        }
      }
    }
  }

  // Adds the lost blocks that aren't known to have been clean: version 2 tells, after a clean
  // shutdown, for blocks of any mapping.
  void note_what_is_at_stake(std::span<const key_range> lost) {
    if (!input_.is_clean() || !input_.has_dirty_bitset()) {
      at_stake_.insert(at_stake_.end(), lost.begin(), lost.end());
    } else if (!lost.empty()) {
      damage_counter told_already;
      block_usage usage{from_.size()};
      const walk_context context{from_, usage, told_already, to_.watcher()};
      bitset_reader bits{context,
                         metadata_block{input_.dirty_root},
                         input_.cache_blocks,
                         {structure::dirty_bits, true}};
      while (const auto run = bits.next()) {
        note_dirty_in(*run, lost);
      }
    }
    std::ranges::sort(at_stake_, {}, &key_range::begin);
    at_stake_ = merged(at_stake_);
  }

  void note_dirty_in(const bitset_reader::run &run, std::span<const key_range> lost) {
    for (const key_range &blocks : lost) {
      const std::uint64_t end = std::min(blocks.end, run.first + run.count);
      for (std::uint64_t block = std::max(blocks.begin, run.first); block < end; ++block) {
        if (run.readable && !run.test(block)) {
          continue;
        }
        if (!at_stake_.empty() && at_stake_.back().end == block) {
          ++at_stake_.back().end;
        } else {
          at_stake_.push_back({block, block + 1});
        }
      }
    }
  }

  void tell_what_is_at_stake() {
    if (at_stake_.empty()) {
      return;
    }
    std::string ranges;
    for (const key_range &each : std::span{at_stake_}.first(std::min(at_stake_.size(), max_told))) {
      ranges += ranges.empty() ? "" : ", ";
      ranges += each.end - each.begin == 1 ? fmt::format("{}", each.begin)
                                           : fmt::format("{}-{}", each.begin, each.end - 1);
    }
    if (at_stake_.size() > max_told) {
      ranges += fmt::format(", and {} more ranges", at_stake_.size() - max_told);
    }
    to_.problem(fmt::format("{} cache blocks that are lost were or may have been dirty: {}: what "
                            "they hold is still on the fast device, until the cache is used again",
                            total(at_stake_), ranges));
  }

  void summarize(const cache_contents &contents) {
    to_.remark(
        fmt::format("format {}, block size {} sectors, {} cache blocks, {} mapped, {} dirty, "
                    "{} lost",
                    std::uint32_t{output_.version}, std::uint32_t{output_.data_block_size},
                    std::uint32_t{output_.cache_blocks}, contents.nr_mapped(), contents.nr_dirty(),
                    total(at_stake_)));
  }

  static std::uint64_t total(std::span<const key_range> ranges) {
    std::uint64_t sum = 0;
    for (const key_range &each : ranges) {
      sum += each.end - each.begin;
    }
    return sum;
  }

  void tell_losses(cache_contents &contents, mended_tree &mended) {
    const std::vector<key_range> lost = damage_.lost_mappings();
    for (const key_range &blocks : lost) {
      to_.problem(
          fmt::format("lost: the mappings of cache blocks {}-{}", blocks.begin, blocks.end - 1));
    }
    if (damage_.nr_found() != 0) {
      note_mappings_beyond();
    }
    note_what_is_at_stake(lost);
    tell_what_is_at_stake();
    if (lost.empty() || is_replaced()) {
      return;
    }
    for (const auto &[part, block] : mended.search().older) {
      const std::string blocks = fmt::format(
          "cache blocks {}-{}", part * mappings_per_block,
          std::min<std::uint64_t>((part + 1) * mappings_per_block, input_.cache_blocks) - 1);
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

  // Was the superblock lost?
  bool is_replaced() const { return input_.space_map.nr_blocks == 0; }

  // Adds the mappings of an earlier version that don't contradict `contents`; returns how many.
  std::uint64_t add_older(cache_contents &contents, std::uint64_t part, std::uint64_t block) {
    std::uint64_t added = 0;
    cache_block at{part * mappings_per_block};
    for (const mapping_entry entry : read_mapping_block(from_, metadata_block{block})) {
      if (entry.is_mapped() && !contents.add({at, entry.origin(), true})) {
        ++added;
      }
      ++at;
    }
    return added;
  }

  device &from_;
  const cache_facts &known_;
  bool use_stale_;
  report &to_;
  damage_report damage_{to_};
  std::vector<key_range> at_stake_; // lost cache blocks that may be dirty; ascending in the end
  superblock input_{};
  superblock output_{};
};

} // namespace

result<repair_losses> repair(device &from, const cache_facts &known, bool use_stale,
                             const open_device &open, report &to) {
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
    if (auto agrees = agree(known, *block, "the superblock is sound"); !agrees) {
      return agrees;
    }
  }
  const std::uint32_t cache_blocks =
      block ? std::uint32_t{block->cache_blocks} : *known.cache_blocks;
  bool has_io_error = false;
  const block_survey survey =
      survey_blocks(from, to.watcher(), [&](auto, auto) { has_io_error = true; });
  const root_search search{from, survey, cache_blocks, to.watcher()};
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
  if (has_io_error || search.has_io_error()) {
    return fail(failure::environment, "not all of the device could be read: trees may be missing");
  }
  if (search.candidates().empty()) {
    return fail(failure::failed,
                fmt::format("no mapping tree of {} cache blocks can be found", cache_blocks));
  }
  return {};
}

} // namespace dmcache
