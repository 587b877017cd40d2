#include "caching/metadata/metadata_reader.h"

#include <algorithm>
#include <optional>

namespace dmcache {
namespace {

// Hints are as many as there were cache blocks at the last clean shutdown; whoever restored them
// without a hint size left them uncounted, too.
std::optional<std::uint64_t> nr_hints(const superblock &block) {
  if (block.is_clean() && block.policy_hint_size != 0) {
    return block.cache_blocks;
  }
  return {};
}

array_description hints_of(const superblock &block) {
  return {.root = metadata_block{block.hint_root},
          .value_size = sizeof(le32),
          .nr_entries = nr_hints(block),
          .kind = {structure::hints, false},
          .lost_limit = block.cache_blocks};
}

void visit_discards(bitset_reader &reader, metadata_visitor &visitor) {
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

std::optional<origin_block_set> read_metadata(const walk_context &context, const superblock &block,
                                              const reading &what, metadata_visitor &visitor) {
  // All are made before the first is read: each reads ahead from then on.
  std::optional<mapping_reader> mappings;
  std::optional<array_reader> hints;
  std::optional<bitset_reader> discards;
  if (what.mappings) {
    mappings.emplace(context, block, what.meaning);
  }
  if (what.hints && block.hint_root != 0) {
    hints.emplace(context, hints_of(block));
  }
  if (what.discards) {
    discards.emplace(context, metadata_block{block.discard_root}, block.discard_nr_blocks,
                     structure_kind{structure::discards, false});
  }

  while (const auto some = mappings ? mappings->next() : std::nullopt) {
    visitor.mappings(*some);
  }
  visitor.end_of_mappings();
  while (const auto leaf = hints ? hints->next() : std::nullopt) {
    visitor.hints(cache_block{leaf->first},
                  {reinterpret_cast<const le32 *>(leaf->values.data()), leaf->count}); // NOLINT
  }
  visitor.end_of_hints();
  if (discards) {
    visit_discards(*discards, visitor);
  }
  visitor.end_of_discards();
  return mappings ? mappings->take_ambiguous() : std::nullopt;
}

} // namespace dmcache
