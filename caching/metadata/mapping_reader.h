// The mappings with their dirty state, in order of cache blocks. Here, and nowhere else, the two
// versions of the format meet when they are read: version 1 keeps the dirty flag in the mapping,
// version 2 in a bitset beside the array. persistent-data/format.md: "Array", "Bitset", "Meaning of
// the flags".
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/units.h"
#include "caching/metadata/mapping_format.h"
#include "caching/metadata/origin_block_set.h"
#include "caching/metadata/superblock.h"
#include "persistent-data/array_reader.h"
#include "persistent-data/bitset_reader.h"

namespace dmcache {

struct mapping {
  cache_block cached_in;
  origin_block origin;
  bool dirty;
};

enum class dirty_meaning {
  true_state, // without a clean shutdown every block is dirty
  as_stored,  // the bits on disk; a block whose bit can't be read is dirty
};

// Reads what stands apart from the mappings, which is nothing in version 1, just for the blocks
// that it uses. Damage goes to the context's sink.
void read_dirty_bitset(const walk_context &context, const superblock &block);

class mapping_reader {
 public:
  // Damage of the mappings and of the dirty bits goes to the context's sink. Context and superblock
  // must outlive this.
  mapping_reader(const walk_context &context, const superblock &block, dirty_meaning meaning);

  // The valid mappings of the next stretch of cache blocks, possibly none; nothing at the end.
  std::optional<std::span<const mapping>> next();

  // The origin blocks that more than one cache block claims to hold, if there are any. Nothing
  // tells which of those claims is right.
  std::optional<origin_block_set> take_ambiguous() { return std::move(ambiguous_); }

 private:
  // Entries of an array block that are wrong in the same way, told together.
  struct entry_fault {
    std::string text; // what is wrong with them
    std::uint64_t begin;
    std::uint64_t end;
  };

  std::size_t read_some(std::span<const le64> entries, std::uint64_t first);
  void read_entries(std::span<const le64> entries, std::uint64_t first, std::uint64_t dirty);
  void read_usual(std::span<const le64> entries, std::uint64_t first, std::uint64_t dirty);
  void read_any(std::span<const le64> entries, std::uint64_t first, std::uint64_t dirty);
  [[gnu::cold]] void found_again(origin_block origin, std::uint64_t index);
  void check_mapped(mapping_entry entry, mapping &found);
  void check_unmapped(std::uint64_t index, mapping_entry entry, bool dirty_bit);
  void fault(structure in, std::uint64_t entry, std::string text);
  void tell(structure in, const std::optional<entry_fault> &told);

  const walk_context &context_;
  const superblock &superblock_;
  bool all_dirty_;
  std::uint64_t known_flags_;
  std::uint64_t origin_limit_;
  origin_block quick_limit_; // below it no origin block needs to be looked at by itself
  array_reader entries_;
  std::optional<bitset_reader> dirty_bits_; // version 2
  std::optional<bitset_reader::run> dirty_run_;
  std::optional<array_reader::leaf> leaf_;
  std::vector<mapping> batch_; // with room for the mappings of an array block
  std::size_t batch_size_ = 0;
  std::optional<entry_fault> mapping_fault_; // found last in leaf_, and not reported yet
  std::optional<entry_fault> dirty_fault_;
  origin_block_set seen_;
  std::optional<origin_block_set> ambiguous_;
};

} // namespace dmcache
