#include "caching/tools/repair.h"

#include <fmt/format.h>

#include "caching/metadata/cache_contents.h"
#include "caching/tools/damage_report.h"

namespace dmcache {
namespace {

// Only what is believed gets into the new metadata.
result<superblock> mended(superblock block) {
  if (!is_legal_data_block_size(block.data_block_size)) {
    return fail(failure::failed, "without a block size nothing can be repaired");
  }
  mend_policy(block);
  block.metadata_block_size = metadata_block_size / sector_size;
  return block;
}

} // namespace

result<> repair(metadata_device metadata, const open_device &open, report &to) {
  damage_report damage{to};
  for (const std::string &fault : faults_of(metadata.block)) {
    damage.found({structure::superblock, true, superblock_location, "", fault, {}});
  }
  auto block = mended(metadata.block);
  if (!block) {
    return std::unexpected{block.error()};
  }
  const bool trusted = block->is_clean();
  cache_contents contents{*block};
  block_usage usage{metadata.from->size()};
  usage.claim(superblock_location, structure::superblock);
  const auto ambiguous = read_metadata(
      {*metadata.from, usage, damage, to.watcher()}, metadata.block,
      {.hints = trusted && block->policy_hint_size != 0, .discards = trusted}, contents);
  damage.explain();
  if (ambiguous) {
    to.problem(fmt::format("{} mappings to origin blocks that more than one cache block claims "
                           "were left out: which is right can't be told",
                           contents.drop(*ambiguous)));
  }
  if (!trusted) {
    to.problem(fmt::format("not cleanly shut down: all {} mapped blocks are dirty in the output, "
                           "and hints and discards are left out",
                           contents.nr_mapped()));
  }
  const bool fits_origin =
      block->knows_origin_size() && contents.origin_end() <= block->max_origin_blocks();
  if (!fits_origin) { // or the discard fields are wrong: they cost least
    contents.drop_discards();
  }
  contents.described().flags = superblock::clean_shutdown;
  auto output = open();
  if (!output) {
    return std::unexpected{output.error()};
  }
  return contents.write(**output);
}

} // namespace dmcache
