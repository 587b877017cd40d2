#include "caching/tools/sound_contents.h"

#include <fmt/format.h>

#include "caching/tools/damage_report.h"

namespace dmcache {

result<> read_sound_contents(const metadata_device &metadata, const char *undone,
                             block_usage &usage, cache_contents &contents, report &to) {
  damage_report damage{to};
  for (const std::string &fault : faults_of(metadata.block)) {
    damage.found({structure::superblock, true, superblock_location, "", fault, {}});
  }
  const walk_context context{*metadata.from, usage, damage, to.watcher()};
  const auto ambiguous = read_metadata(context, metadata.block, {.space_map = true}, contents);
  damage.explain();
  if (damage.nr_fatal() == 0 && !damage.has_io_error() && !ambiguous) {
    return {};
  }
  return fail(damage.has_io_error() ? failure::environment : failure::failed,
              fmt::format("{}: the metadata are damaged; see cache_repair", undone));
}

} // namespace dmcache
