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

// Of which of at most as many entries as a word has bits that is true; the lowest bit is the first one's.
std::uint64_t bits_of(std::span<const le64> entries, bool (mapping_entry::*is_true)() const) {
  std::uint64_t bits = 0;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    bits |= static_cast<std::uint64_t>((mapping_entry::decode(entries[i]).*is_true)()) << i;
  }
  return bits;
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
      quick_limit_{std::min(origin_block{origin_limit_}, origin_block_set::quick_limit)},
      entries_{context,
               {.root = metadata_block{block.mapping_root},
                .value_size = sizeof(le64),
                .nr_entries = block.cache_blocks,
                .kind = {structure::mappings, true},
                .lost_limit = block.cache_blocks}},
      batch_(mappings_per_block), seen_{block.cache_blocks} {
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
  for (std::size_t at = 0; at < entries.size();) {
    at += read_some(entries.subspan(at), leaf_->first + at);
  }
  tell(structure::mappings, std::exchange(mapping_fault_, std::nullopt));
  tell(structure::dirty_bits, std::exchange(dirty_fault_, std::nullopt));
  return std::span{batch_}.first(batch_size_);
}

// Reads as many of `entries`, whose first one has the number `first`, as have their dirty bits in one
// word, and returns how many these are.
std::size_t mapping_reader::read_some(std::span<const le64> entries, std::uint64_t first) {
  if (!dirty_bits_) {
    const auto some = entries.first(std::min(entries.size(), bits_per_word));
    read_entries(some, first, bits_of(some, &mapping_entry::has_dirty_flag));
    return some.size();
  }
  while (!dirty_run_ || dirty_run_->first + dirty_run_->count <= first) {
    dirty_run_ = dirty_bits_->next();
    if (!dirty_run_) {
      dirty_run_ = bitset_reader::run{first, superblock_.cache_blocks - first, false, nullptr};
    }
  }
  const std::uint64_t at = first - dirty_run_->first;
  const auto some = entries.first(
      std::min({entries.size(), dirty_run_->count - at, bits_per_word - at % bits_per_word}));
  read_entries(some, first,
               dirty_run_->readable ? dirty_run_->words[at / bits_per_word] >> at % bits_per_word
                                    : bits_of(some, &mapping_entry::is_mapped));
  return some.size();
}

// Of at most as many entries as a word has bits; the lowest of `dirty` is the first one's.
void mapping_reader::read_entries(std::span<const le64> entries, std::uint64_t first,
                                  std::uint64_t dirty) {
  std::uint64_t some = 0;
  std::uint64_t all = ~std::uint64_t{0};
  std::uint64_t highest = 0;
#pragma GCC unroll 4
  for (const std::uint64_t stored : entries) {
    seen_.prefetch(mapping_entry::decode(stored).origin());
    some |= stored;
    all &= stored;
    highest = std::max(highest, stored);
  }
  if (some == 0 && dirty == 0) {
    return;
  }
  const bool is_usual = mapping_entry::decode(all).is_mapped() &&
                        (mapping_entry::decode(some).flags() & ~known_flags_) == 0 &&
                        mapping_entry::decode(highest).origin() < quick_limit_;
  if (is_usual) [[likely]] {
    read_usual(entries, first, dirty);
  } else {
    read_any(entries, first, dirty);
  }
}

// Sound ones that all map something, as nearly all are.
void mapping_reader::read_usual(std::span<const le64> entries, std::uint64_t first,
                                std::uint64_t dirty) {
  mapping *next = batch_.data() + batch_size_;
  batch_size_ += entries.size();
  std::uint64_t bits = all_dirty_ ? ~std::uint64_t{0} : dirty;
  for (const std::uint64_t stored : entries) {
    const origin_block origin = mapping_entry::decode(stored).origin();
    // Member by member, as gcc puts a whole one together on the stack first.
    next->cached_in = cache_block{first};
    next->origin = origin;
    next->dirty = (bits & 1) != 0;
    ++next;
    if (!seen_.insert_quick(origin)) [[unlikely]] {
      found_again(origin, first);
    }
    bits >>= 1;
    ++first;
  }
}

void mapping_reader::read_any(std::span<const le64> entries, std::uint64_t first,
                              std::uint64_t dirty) {
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const mapping_entry entry = mapping_entry::decode(entries[i]);
    const bool is_dirty = (dirty >> i & 1) != 0;
    if (!entry.is_mapped()) {
      check_unmapped(first + i, entry, is_dirty);
      continue;
    }
    mapping &found = batch_[batch_size_++];
    found = {cache_block{first + i}, entry.origin(), is_dirty || all_dirty_};
    check_mapped(entry, found);
    if (!seen_.insert(found.origin)) {
      found_again(found.origin, first + i);
    }
  }
}

void mapping_reader::found_again(origin_block origin, std::uint64_t index) {
  if (!ambiguous_) {
    ambiguous_.emplace();
  }
  ambiguous_->insert(origin);
  fault(structure::mappings, index,
        fmt::format("origin block {} is mapped by another cache block, too", origin));
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
