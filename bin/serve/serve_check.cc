#include "bin/serve/serve_check.h"

#include <fmt/format.h>

#include "base/overlay_device.h"
#include "caching/metadata/superblock.h"
#include "caching/runtime/format_check.h"
#include "caching/runtime/opened_cache.h"

namespace dmcache {
namespace {

// The same error, with the path of the metadata that it is about.
std::unexpected<error> with_path(const std::string &path, const error &found) {
  return fail(found.kind, fmt::format("{} (metadata: {})", found.message, path));
}

// What somebody might still need is never formatted.
result<> check_that_nothing_is_lost(device &metadata, const device_part &part) {
  const std::string &path = part.path;
  if (metadata.size() < bytes{metadata_block_size}) {
    return fail(failure::failed, fmt::format("{} is too small for metadata: cache_metadata_size "
                                             "tells how large they are",
                                             path));
  }
  if (auto checked = check_that_no_cache_is_lost(metadata, part); !checked) {
    return checked;
  }
  const auto is_blank = holds_nothing(metadata);
  if (!is_blank) {
    return with_path(path, is_blank.error());
  }
  if (*is_blank) {
    return {};
  }
  if (read_superblock(metadata)) {
    return fail(failure::failed,
                fmt::format("{} holds a cache already: leave --create out to serve that", path));
  }
  return fail(failure::failed,
              fmt::format("{} is not all zero: block {} holds something. If it isn't needed any "
                          "more, {}",
                          path, superblock_location, how_to_overwrite(metadata, part)));
}

result<> check_that_it_holds_a_cache(device &metadata, const device_part &part) {
  const std::string &path = part.path;
  const auto is_blank = holds_nothing(metadata);
  if (!is_blank) {
    return with_path(path, is_blank.error());
  }
  if (!*is_blank) {
    return {};
  }
  if (auto checked = check_that_no_cache_is_lost(metadata, part); !checked) {
    return checked;
  }
  return fail(failure::failed,
              fmt::format("{} holds no cache yet: --create makes a new one", path));
}

} // namespace

result<engine_status> check_before_serving(const cache_paths &paths,
                                           const engine_options &options) {
  auto opened = opened_cache::open(
      paths, options.read_only ? access::read_only : access::read_write, data_io::page_cache);
  if (!opened) {
    return std::unexpected{opened.error()};
  }
  device &metadata = *opened->metadata;
  const auto checked = options.may_format ? check_that_nothing_is_lost(metadata, paths.metadata)
                                          : check_that_it_holds_a_cache(metadata, paths.metadata);
  if (!checked) {
    return std::unexpected{checked.error()};
  }
  overlay_device rehearsed{metadata};
  const auto activated = opened->activate(rehearsed, options);
  if (!activated && activated.error().kind == failure::usage) { // a policy's name or setting
    return std::unexpected{activated.error()};
  }
  return activated ? result<engine_status>{(*activated)->status()}
                   : with_path(paths.metadata.path, activated.error());
}

} // namespace dmcache
