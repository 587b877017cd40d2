#include "caching/tools/restore.h"

#include <algorithm>

#include <fmt/format.h>

#include "caching/metadata/metadata_size.h"
#include "caching/tools/damage_report.h"

namespace dmcache {
namespace {

// What was written is held against what cache_check calls sound.
result<> check_written(device &on, const superblock &block, report &tells) {
  damage_report damage{tells};
  for (const std::string &fault : faults_of(block)) {
    damage.found({structure::superblock, true, superblock_location, "", fault, {}});
  }
  metadata_visitor nobody;
  block_usage usage{on.size()};
  read_metadata({on, usage, damage, tells.watcher()}, block, {.space_map = true}, nobody);
  if (damage.nr_found() == 0) {
    return {};
  }
  return fail(damage.has_io_error() ? failure::environment : failure::failed,
              "what was written is not sound");
}

} // namespace

result<std::unique_ptr<cache_contents>> read_document(const read_text &document,
                                                      std::optional<bytes> output_size,
                                                      const restore_options &options) {
  result<> has_room;
  const auto accept = [&](const superblock &described) -> xml_elements::fault {
    if (output_size) {
      has_room = cache_contents::check_room(described, *output_size);
    }
    return has_room ? xml_elements::fault{} : "what follows doesn't fit the output";
  };
  auto contents =
      read_xml(document, {.metadata_version = options.metadata_version, .accept = accept});
  if (!has_room) {
    return std::unexpected{has_room.error()};
  }
  if (contents && !options.clean_shutdown) {
    (*contents)->described().flags = 0;
  }
  return contents;
}

bytes device_size_for(const cache_contents &contents) {
  const superblock &block = contents.described();
  const bytes estimated =
      to_bytes(estimate_metadata_size(block.cache_blocks, block.policy_hint_size));
  // As large as this, it has room for a second version, and for more than the estimate knows of.
  const std::uint64_t blocks = 1 + 2 * cache_contents::blocks_needed(
                                           block, bytes{max_metadata_blocks * metadata_block_size});
  const std::uint64_t size = std::max(divided_up(estimated.value(), metadata_block_size), blocks);
  return bytes{std::min(size, max_metadata_blocks) * metadata_block_size};
}

result<> restore(const cache_contents &contents, device &to, const restore_options &options,
                 report &tells) {
  return contents.write(to, tells.watcher(), [&](superblock &block) {
    auto sound = check_written(to, block, tells);
    if (options.claimed_version != 0) {
      block.version = options.claimed_version;
    }
    return sound;
  });
}

} // namespace dmcache
