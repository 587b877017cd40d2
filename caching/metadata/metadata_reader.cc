#include "caching/metadata/metadata_reader.h"

#include <algorithm>
#include <optional>

namespace dmcache {
namespace {

origin_block_set read_mappings(const walk_context &context, const superblock &block,
                               dirty_meaning meaning, metadata_visitor &visitor) {
  mapping_reader reader{context, block, meaning};
  while (const auto some = reader.next()) {
    visitor.mappings(*some);
  }
  return reader.take_ambiguous();
}

// Hints are as many as there were cache blocks at the last clean shutdown; whoever restored them
// without a hint size left them uncounted, too.
std::optional<std::uint64_t> nr_hints(const superblock &block) {
  if (block.is_clean() && block.policy_hint_size != 0) {
    return block.cache_blocks;
  }
  return {};
}

void read_hints(const walk_context &context, const superblock &block, metadata_visitor &visitor) {
  if (block.hint_root == 0) {
    return;
  }
  array_reader reader{context,
                      {.root = metadata_block{block.hint_root},
                       .value_size = sizeof(le32),
                       .nr_entries = nr_hints(block),
                       .kind = {structure::hints, false},
                       .lost_limit = block.cache_blocks}};
  while (const auto leaf = reader.next()) {
    visitor.hints(cache_block{leaf->first},
                  {reinterpret_cast<const le32 *>(leaf->values.data()), leaf->count}); // NOLINT
  }
}

void read_discards(const walk_context &context, const superblock &block,
                   metadata_visitor &visitor) {
  bitset_reader reader{context, metadata_block{block.discard_root}, block.discard_nr_blocks,
                       {structure::discards, false}};
  std::uint64_t begin = 0; // of the set bits seen last
  std::uint64_t end = 0;   // one past them
  const auto end_run = [&] {
    if (begin < end) {
      visitor.discards(begin, end);
    }
    begin = end;
  };
  while (const auto run = reader.next()) {
    for (std::uint64_t bit = run->first; run->readable && bit < run->first + run->count; ++bit) {
      if (!run->test(bit)) {
        continue;
      }
      if (bit != end) {
        end_run();
        begin = bit;
      }
      end = bit + 1;
    }
  }
  end_run();
}

} // namespace

origin_block_set read_metadata(const walk_context &context, const superblock &block,
                               const reading &what, metadata_visitor &visitor) {
  origin_block_set ambiguous;
  if (what.mappings) {
    ambiguous = read_mappings(context, block, what.meaning, visitor);
  }
  visitor.end_of_mappings();
  if (what.hints) {
    read_hints(context, block, visitor);
  }
  visitor.end_of_hints();
  if (what.discards) {
    read_discards(context, block, visitor);
  }
  visitor.end_of_discards();
  return ambiguous;
}

} // namespace dmcache
