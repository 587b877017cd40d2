#include "caching/tools/restore.h"

#include <fmt/format.h>

namespace dmcache {

result<> restore(const read_text &document, device &to, const restore_options &options) {
  result<> has_room;
  const auto accept = [&](const superblock &described) -> xml_elements::fault {
    has_room = cache_contents::check_room(described, to.size());
    return has_room ? xml_elements::fault{} : "what follows doesn't fit the output";
  };
  auto contents =
      read_xml(document, {.metadata_version = options.metadata_version, .accept = accept});
  if (!has_room) {
    return has_room;
  }
  if (!contents) {
    if (contents.error().kind == failure::failed && to.size().value() >= metadata_block_size) {
      if (auto wiped = wipe_superblock(to); !wiped) {
        return wiped;
      }
    }
    return std::unexpected{contents.error()};
  }
  if (!options.clean_shutdown) {
    (*contents)->described().flags = 0;
  }
  return (*contents)->write(to, options.claimed_version);
}

} // namespace dmcache
