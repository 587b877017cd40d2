// The entries of an array, in order, whatever state it is in. The only way to read one.
// format.md: "Array".
#pragma once

#include <cstdint>
#include <optional>

#include "persistent-data/block_stream.h"
#include "persistent-data/btree_walk.h"

namespace dmcache {

struct array_description {
  metadata_block root;
  std::size_t value_size; // bytes an entry: 4 or 8
  // If it isn't known, any number is right that the array's blocks agree on.
  std::optional<std::uint64_t> nr_entries;
  structure_kind kind;
  // Damage tells what is lost in what the user counts in: each entry stands for so many of these,
  // of which there are `lost_limit` in all.
  std::uint64_t lost_per_entry = 1;
  std::uint64_t lost_limit;
};

class array_reader {
 public:
  // Reads the tree; the array blocks are read ahead once the first is asked for. Damage goes to the
  // context's sink; the context must outlive this.
  array_reader(const walk_context &context, const array_description &array);
  array_reader(const walk_context &&context, const array_description &array) = delete;

  struct leaf {
    std::uint64_t first; // number of its first entry
    std::uint64_t count;
    metadata_block where;
    std::span<const std::byte> values; // count × value_size bytes; live until the next call
  };

  // The next readable array block; entries between two of them are lost, and were reported.
  std::optional<leaf> next();

  // The way from the root to the array block that next() gave last: "19 -> 231".
  std::string path() const;

 private:
  std::uint64_t expected_in(std::uint64_t index) const;
  void claim_blocks();
  void report_gaps();
  void report(metadata_block where, std::string path, std::string fault,
              std::optional<key_range> entries, bool io_error = false);
  std::optional<leaf> believe(const btree_contents::entry &entry, const block_stream::item &block);

  const walk_context &context_;
  array_description array_;
  std::uint64_t per_block_;
  btree_contents tree_;
  std::optional<block_stream> blocks_;
  std::size_t current_ = 0; // entry of tree_ that next() gave last
};

} // namespace dmcache
