#include "caching/metadata/mapping_reader.h"

#include <algorithm>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "caching/metadata/mapping_format.h"

namespace dmcache {
mapping_reader::mapping_reader(const walk_context &context, const superblock &block,
                               dirty_meaning meaning)
    : context_{context}, superblock_{block}, all_dirty_{meaning == dirty_meaning::true_state &&
                                                        !block.is_clean()},
      known_flags_{block.version == 1 ? (mapping_valid | mapping_dirty) : mapping_valid},
      origin_limit_{block.knows_origin_size() ? block.max_origin_blocks()
                                              : std::numeric_limits<std::uint64_t>::max()},
      entries_{context,
               {.root = metadata_block{block.mapping_root},
                .value_size = sizeof(le64),
                .nr_entries = block.cache_blocks,
                .kind = {structure::mappings, true},
                .lost_limit = block.cache_blocks}},
      batch_(array_max_entries(sizeof(le64))) {
  if (block.version == 2) {
    dirty_bits_.emplace(context, metadata_block{block.dirty_root}, block.cache_blocks,
                        structure_kind{structure::dirty_bits, true});
  }
}

std::optional<std::span<const mapping>> mapping_reader::next() {
  leaf_ = entries_.next();
  batch_size_ = 0;
  if (!leaf_) {
    while (dirty_bits_ && dirty_bits_->next()) { // what is wrong with the rest is told, too
    }
    return {};
  }
  const std::span entries{reinterpret_cast<const le64 *>(leaf_->values.data()), // NOLINT: on disk
                          leaf_->count};
  for (std::uint64_t first = leaf_->first; first < leaf_->first + leaf_->count;) {
    first = read_stretch(entries.subspan(first - leaf_->first), first);
  }
  tell(structure::mappings, std::exchange(mapping_fault_, std::nullopt));
  tell(structure::dirty_bits, std::exchange(dirty_fault_, std::nullopt));
  return std::span{batch_}.first(batch_size_);
}

// Reads entries from `first` on whose dirty bits stand together; returns where the next one begins.
std::uint64_t mapping_reader::read_stretch(std::span<const le64> entries, std::uint64_t first) {
  if (!dirty_bits_) {
    read_entries(entries, first, [](std::uint64_t /*entry*/, std::uint64_t raw) {
      return (raw & mapping_dirty) != 0;
    });
    return first + entries.size();
  }
  while (!dirty_run_ || dirty_run_->first + dirty_run_->count <= first) {
    dirty_run_ = dirty_bits_->next();
    if (!dirty_run_) {
      dirty_run_ = bitset_reader::run{first, superblock_.cache_blocks - first, false, nullptr};
    }
  }
  const bitset_reader::run run = *dirty_run_;
  const auto together = std::min(run.first + run.count - first, entries.size());
  if (run.readable) {
    read_entries(entries.first(together), first,
                 [&](std::uint64_t entry, std::uint64_t /*raw*/) { return run.test(entry); });
  } else {
    read_entries(entries.first(together), first, [](std::uint64_t /*entry*/, std::uint64_t raw) {
      return (raw & mapping_valid) != 0;
    });
  }
  return first + together;
}

// Almost all entries are as they should be: the first loop just gathers whether one isn't.
template <typename DirtyBit>
void mapping_reader::read_entries(std::span<const le64> entries, std::uint64_t first,
                                  DirtyBit is_dirty) {
  const std::uint64_t unusual = mapping_flag_mask & ~known_flags_;
  const std::uint64_t limit = origin_limit_;
  const bool all_dirty = all_dirty_;
  mapping *const begin = batch_.data() + batch_size_;
  mapping *next = begin;
  std::uint64_t wrong = 0;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const std::uint64_t raw = entries[i];
    const std::uint64_t origin = raw >> mapping_flag_bits;
    const std::uint64_t valid = raw & mapping_valid;
    const bool dirty = is_dirty(first + i, raw);
    *next = {cache_block{first + i}, origin_block{origin}, dirty || all_dirty};
    next += valid;
    wrong |= valid != 0 ? (raw & unusual) | static_cast<std::uint64_t>(origin >= limit)
                        : raw | static_cast<std::uint64_t>(dirty);
  }
  const std::span found{begin, next};
  batch_size_ += found.size();
  if (wrong != 0) [[unlikely]] {
    check_entries(entries, first, is_dirty, found);
  }
  for (const mapping &each : found) {
    if (!seen_.insert(each.origin)) [[unlikely]] {
      ambiguous_ = ambiguous_ ? std::move(ambiguous_) : origin_block_set{};
      ambiguous_->insert(each.origin);
      fault(structure::mappings, each.cached_in.value(),
            fmt::format("origin block {} is mapped by another cache block, too", each.origin));
    }
  }
}

// Tells which of `entries`, of which `found` are valid, are not as they should be.
template <typename DirtyBit>
void mapping_reader::check_entries(std::span<const le64> entries, std::uint64_t first,
                                   DirtyBit is_dirty, std::span<mapping> found) {
  auto next = found.begin();
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const std::uint64_t raw = entries[i];
    if ((raw & mapping_valid) != 0) {
      check_mapped(raw, *next++);
    } else {
      check_unmapped(first + i, raw, is_dirty(first + i, raw));
    }
  }
}

void mapping_reader::check_mapped(std::uint64_t raw, mapping &found) {
  const std::uint64_t entry = found.cached_in.value();
  const std::uint64_t unknown_flags = raw & mapping_flag_mask & ~known_flags_;
  if (unknown_flags != 0) {
    found.dirty = true; // what such a flag means is unknown: the safe side
    fault(structure::mappings, entry,
          unknown_flags == mapping_dirty
              ? "mapping with a dirty flag, which version 2 keeps elsewhere"
              : "mapping with unknown flags");
  }
  if (found.origin.value() >= origin_limit_) {
    fault(structure::mappings, entry, "mapping to beyond the end of the origin");
  }
}

void mapping_reader::check_unmapped(std::uint64_t entry, std::uint64_t raw, bool dirty_bit) {
  if (raw != 0) {
    fault(structure::mappings, entry, "unmapped entry that isn't zero");
  }
  // Between clean shutdowns the kernel leaves the bits of blocks that are dropped as they were.
  if (dirty_bits_ && dirty_bit && superblock_.is_clean()) {
    fault(structure::dirty_bits, entry, "dirty bit on an unmapped cache block");
  }
}

void mapping_reader::fault(structure in, std::uint64_t entry, std::string what) {
  auto &open = in == structure::mappings ? mapping_fault_ : dirty_fault_;
  if (open && open->end == entry && open->what == what) {
    ++open->end;
    return;
  }
  tell(in, std::exchange(open, entry_fault{std::move(what), entry, entry + 1}));
}

void mapping_reader::tell(structure in, const std::optional<entry_fault> &told) {
  if (!told) {
    return;
  }
  const std::string blocks = told->end - told->begin == 1
                                 ? fmt::format("cache block {}", told->begin)
                                 : fmt::format("cache blocks {}-{}", told->begin, told->end - 1);
  const bool in_bits = in == structure::dirty_bits;
  context_.sink.found({.in = in,
                       .fatal = true,
                       .block = in_bits ? dirty_bits_->where() : leaf_->where,
                       .path = in_bits ? dirty_bits_->path() : entries_.path(),
                       .what = fmt::format("{}: {}", blocks, told->what),
                       .lost = {}});
}

} // namespace dmcache
