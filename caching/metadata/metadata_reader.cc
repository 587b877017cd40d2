#include "caching/metadata/metadata_reader.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "persistent-data/space_map_check.h"

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
                                              const reading &wanted, metadata_visitor &visitor) {
  context.usage.claim(superblock_location, structure::superblock);
  auto ambiguous = read_trees(context, block, wanted, visitor);
  if (wanted.space_map) {
    if (!wanted.mappings || !wanted.hints || !wanted.discards) {
      context.usage.forget_completeness();
    }
    check_space_map(context, block.space_map);
  }
  return ambiguous;
}

std::optional<origin_block_set> read_trees(const walk_context &context, const superblock &trees,
                                           const reading &wanted, metadata_visitor &visitor) {
  // All trees are walked before anything is read ahead, behind which each node would have to wait.
  std::optional<mapping_reader> mappings;
  std::optional<array_reader> hints;
  std::optional<bitset_reader> discards;
  if (wanted.mappings) {
    mappings.emplace(context, trees, wanted.meaning);
  }
  if (wanted.hints && trees.hint_root != 0) {
    hints.emplace(context, hints_of(trees));
  }
  if (wanted.discards) {
    discards.emplace(context, metadata_block{trees.discard_root}, trees.discard_nr_blocks,
                     structure_kind{structure::discards, false});
  }

  const auto visit_hints = [&] {
    const auto leaf = hints ? hints->next() : std::nullopt;
    if (leaf) {
      visitor.hints(cache_block{leaf->first},
                    {reinterpret_cast<const le32 *>(leaf->values.data()), leaf->count}); // NOLINT
    }
    return leaf.has_value();
  };
  // Mappings take the processor longer than the disk, hints the disk longer than the processor.
  bool are_hints_due = false; // an array block has twice as many of them
  while (const auto some = mappings ? mappings->next() : std::nullopt) {
    visitor.mappings(*some);
    if (wanted.together && std::exchange(are_hints_due, !are_hints_due)) {
      visit_hints();
    }
  }
  visitor.end_of_mappings();
  while (visit_hints()) {
  }
  visitor.end_of_hints();
  if (discards) {
    visit_discards(*discards, visitor);
  }
  visitor.end_of_discards();
  return mappings ? mappings->take_ambiguous() : std::nullopt;
}

} // namespace dmcache
