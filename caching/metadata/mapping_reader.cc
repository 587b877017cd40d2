#include "caching/metadata/mapping_reader.h"

#include <algorithm>
#include <limits>
#include <utility>

#include <fmt/format.h>

namespace dmcache {
namespace {

structure_kind kind_of_dirty_bits() {
  return {structure::dirty_bits, true};
}

} // namespace

void read_dirty_bitset(const walk_context &context, const superblock &block) {
  if (block.has_dirty_bitset()) {
    bitset_reader bits{context, metadata_block{block.dirty_root}, block.cache_blocks,
                       kind_of_dirty_bits()};
    while (bits.next()) {
    }
  }
}

mapping_reader::mapping_reader(const walk_context &context, const superblock &block,
                               dirty_meaning meaning)
    : context_{context}, superblock_{block},
      all_dirty_{meaning == dirty_meaning::true_state && !block.is_clean()},
      known_flags_{block.has_dirty_bitset() ? mapping_entry::valid
                                            : mapping_entry::valid | mapping_entry::dirty},
      origin_limit_{block.knows_origin_size() ? block.max_origin_blocks()
                                              : std::numeric_limits<std::uint64_t>::max()},
      entries_{context,
               {.root = metadata_block{block.mapping_root},
                .value_size = sizeof(le64),
                .nr_entries = block.cache_blocks,
                .kind = {structure::mappings, true},
                .lost_limit = block.cache_blocks}},
      batch_(array_max_entries(sizeof(le64))) {
  if (block.has_dirty_bitset()) {
    dirty_bits_.emplace(context, metadata_block{block.dirty_root}, block.cache_blocks,
                        kind_of_dirty_bits());
  }
}

std::optional<std::span<const mapping>> mapping_reader::next() {
  leaf_ = entries_.next();
  batch_size_ = 0;
  if (!leaf_) {
    while (dirty_bits_ && dirty_bits_->next()) { // so that damage in the rest is told, too
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

// Reads as many entries from `first` on as have their dirty bits together, and returns the number
// of the one that follows them.
std::uint64_t mapping_reader::read_stretch(std::span<const le64> entries, std::uint64_t first) {
  if (!dirty_bits_) {
    read_entries(entries, first, [](std::uint64_t /*index*/, mapping_entry entry) {
      return entry.has_dirty_flag();
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
                 [&](std::uint64_t index, mapping_entry /*entry*/) { return run.test(index); });
  } else {
    read_entries(entries.first(together), first,
                 [](std::uint64_t /*index*/, mapping_entry entry) { return entry.is_mapped(); });
  }
  return first + together;
}

// Almost all entries are sound, so the first loop only finds out whether one isn't.
template <typename DirtyBit>
void mapping_reader::read_entries(std::span<const le64> entries, std::uint64_t first,
                                  DirtyBit is_dirty) {
  const std::uint64_t unusual = mapping_entry::flag_mask & ~known_flags_;
  const std::uint64_t limit = origin_limit_;
  const bool all_dirty = all_dirty_;
  mapping *const begin = batch_.data() + batch_size_;
  mapping *next = begin;
  std::uint64_t wrong = 0;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const mapping_entry entry = mapping_entry::decode(entries[i]);
    const std::uint64_t origin = entry.origin().value();
    seen_.prefetch(entry.origin());
    const std::uint64_t valid = entry.flags() & mapping_entry::valid; // a number spares a branch
    const bool dirty = is_dirty(first + i, entry);
    *next = {cache_block{first + i}, origin_block{origin}, dirty || all_dirty};
    next += valid;
    wrong |= valid != 0 ? (entry.flags() & unusual) | static_cast<std::uint64_t>(origin >= limit)
                        : entry.encode() | static_cast<std::uint64_t>(dirty);
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

// Reports the bad ones of `entries`; `found` are the valid ones.
template <typename DirtyBit>
void mapping_reader::check_entries(std::span<const le64> entries, std::uint64_t first,
                                   DirtyBit is_dirty, std::span<mapping> found) {
  auto next = found.begin();
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const mapping_entry entry = mapping_entry::decode(entries[i]);
    if (entry.is_mapped()) {
      check_mapped(entry, *next++);
    } else {
      check_unmapped(first + i, entry, is_dirty(first + i, entry));
    }
  }
}

void mapping_reader::check_mapped(mapping_entry entry, mapping &found) {
  const std::uint64_t index = found.cached_in.value();
  const std::uint64_t unknown_flags = entry.flags() & ~known_flags_;
  if (unknown_flags != 0) {
    found.dirty = true; // to be safe, as nobody knows what such a flag means
    fault(structure::mappings, index,
          unknown_flags == mapping_entry::dirty
              ? "mapping with a dirty flag, which version 2 keeps elsewhere"
              : "mapping with unknown flags");
  }
  if (found.origin.value() >= origin_limit_) {
    fault(structure::mappings, index, "mapping to beyond the end of the origin");
  }
}

void mapping_reader::check_unmapped(std::uint64_t index, mapping_entry entry, bool dirty_bit) {
  if (entry.encode() != 0) {
    fault(structure::mappings, index, "unmapped entry that isn't zero");
  }
  // Between clean shutdowns the kernel leaves the bits of blocks that are dropped as they were.
  if (dirty_bits_ && dirty_bit && superblock_.is_clean()) {
    fault(structure::dirty_bits, index, "dirty bit on an unmapped cache block");
  }
}

void mapping_reader::fault(structure in, std::uint64_t entry, std::string text) {
  auto &open = in == structure::mappings ? mapping_fault_ : dirty_fault_;
  if (open && open->end == entry && open->text == text) {
    ++open->end;
    return;
  }
  tell(in, std::exchange(open, entry_fault{std::move(text), entry, entry + 1}));
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
                       .fault = fmt::format("{}: {}", blocks, told->text),
                       .lost = {}});
}

} // namespace dmcache
