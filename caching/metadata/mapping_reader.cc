#include "caching/metadata/mapping_reader.h"

#include <algorithm>
#include <limits>
#include <utility>

#include <fmt/format.h>

namespace dmcache {
namespace {

constexpr std::uint16_t flag_valid = 1;
constexpr std::uint16_t flag_dirty = 2;
constexpr unsigned flag_bits = 16;

} // namespace

mapping_reader::mapping_reader(const walk_context &context, const superblock &block,
                               dirty_meaning meaning)
    : context_{context}, superblock_{block},
      all_dirty_{meaning == dirty_meaning::true_state && !block.is_clean()},
      known_flags_{block.version == 1 ? std::uint16_t{flag_valid | flag_dirty} : flag_valid},
      origin_limit_{block.knows_origin_size() ? block.max_origin_blocks()
                                              : std::numeric_limits<std::uint64_t>::max()},
      entries_{context,
               {.root = metadata_block{block.mapping_root},
                .value_size = sizeof(le64),
                .nr_entries = block.cache_blocks,
                .kind = {structure::mappings, true},
                .lost_limit = block.cache_blocks}} {
  if (block.version == 2) {
    dirty_bits_.emplace(context, metadata_block{block.dirty_root}, block.cache_blocks,
                        structure_kind{structure::dirty_bits, true});
  }
}

std::optional<std::span<const mapping>> mapping_reader::next() {
  leaf_ = entries_.next();
  batch_.clear();
  if (!leaf_) {
    while (dirty_bits_ && dirty_bits_->next()) { // what is wrong with the rest is told, too
    }
    return {};
  }
  const auto *raw = reinterpret_cast<const le64 *>(leaf_->values.data()); // NOLINT: bytes on disk
  for (std::uint64_t i = 0; i < leaf_->count; ++i) {
    read_entry(leaf_->first + i, raw[i]);
  }
  tell_fault();
  return batch_;
}

// Makes dirty_run_ the one that `entry` lies in.
void mapping_reader::load_dirty_bits(std::uint64_t entry) {
  while (!dirty_run_ || dirty_run_->first + dirty_run_->count <= entry) {
    dirty_run_ = dirty_bits_->next();
    if (!dirty_run_) {
      dirty_run_ = bitset_reader::run{entry, superblock_.cache_blocks - entry, false, nullptr};
    }
  }
}

void mapping_reader::read_entry(std::uint64_t entry, std::uint64_t raw) {
  const auto flags = static_cast<std::uint16_t>(raw);
  const origin_block origin{raw >> flag_bits};
  bool dirty = (flags & flag_dirty) != 0;
  if (dirty_bits_) {
    load_dirty_bits(entry);
    dirty = dirty_run_->readable ? dirty_run_->test(entry) : (flags & flag_valid) != 0;
  }
  if ((flags & flag_valid) == 0) [[unlikely]] {
    check_unmapped(entry, raw, dirty);
    return;
  }
  if ((flags & ~known_flags_) != 0) [[unlikely]] {
    dirty = true; // what such a flag means is unknown: the safe side
    fault(structure::mappings, entry,
          (flags & flag_dirty & ~known_flags_) != 0
              ? "mapping with a dirty flag, which version 2 keeps elsewhere"
              : "mapping with unknown flags");
  }
  if (origin.value() >= origin_limit_) [[unlikely]] {
    fault(structure::mappings, entry, "mapping to beyond the end of the origin");
  }
  if (!seen_.insert(origin)) [[unlikely]] {
    ambiguous_.insert(origin);
    fault(structure::mappings, entry,
          fmt::format("origin block {} is mapped by another cache block, too", origin));
  }
  batch_.push_back({cache_block{entry}, origin, dirty || all_dirty_});
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
  if (fault_ && fault_->in == in && fault_->end == entry && fault_->what == what) {
    ++fault_->end;
    return;
  }
  tell_fault();
  fault_ = entry_fault{in, std::move(what), entry, entry + 1};
}

void mapping_reader::tell_fault() {
  if (!fault_) {
    return;
  }
  const entry_fault told = *std::exchange(fault_, std::nullopt);
  const std::string blocks = told.end - told.begin == 1
                                 ? fmt::format("cache block {}", told.begin)
                                 : fmt::format("cache blocks {}-{}", told.begin, told.end - 1);
  const bool in_bits = told.in == structure::dirty_bits;
  context_.sink.found({.in = told.in,
                       .fatal = true,
                       .block = in_bits ? dirty_bits_->where() : leaf_->where,
                       .path = in_bits ? dirty_bits_->path() : entries_.path(),
                       .what = fmt::format("{}: {}", blocks, told.what),
                       .lost = {}});
}

} // namespace dmcache
