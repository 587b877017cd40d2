#include "caching/tools/writeback.h"

#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "caching/metadata/cache_contents.h"
#include "caching/tools/block_copier.h"
#include "caching/tools/damage_report.h"

namespace dmcache {
namespace {

// The end of a device, counted in whole sectors.
bytes end_of(const device &of) {
  return bytes{of.size().value() / sector_size * sector_size};
}

result<> check_metadata(const metadata_device &metadata, block_usage &usage,
                        cache_contents &contents, report &to) {
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
              "nothing was copied: the metadata are damaged; see cache_repair");
}

void tell_failed(std::span<const cache_block> failed, bool list, report &to) {
  if (failed.empty()) {
    return;
  }
  to.problem(
      fmt::format("{} blocks could not be copied: they are on the fast device only, and stay "
                  "dirty{}",
                  failed.size(), list ? "" : " (--list-failed-blocks shows them)"));
  for (const cache_block block : list ? failed : std::span<const cache_block>{}) {
    to.answer(fmt::format("{}", block));
  }
}

} // namespace

result<> write_back(const metadata_device &metadata, device &origin, device &fast,
                    const writeback_options &options, report &to) {
  if (options.update_metadata && metadata.block.compat_ro_flags != 0) {
    return fail(failure::failed, "nothing was copied: unknown features forbid to write the "
                                 "metadata; --no-metadata-update copies without that");
  }
  cache_contents contents{metadata.block};
  block_usage usage{metadata.from->size()};
  if (auto checked = check_metadata(metadata, usage, contents, to); !checked) {
    return checked;
  }
  if (!metadata.block.is_clean()) {
    to.answer("note: not cleanly shut down: all mapped blocks count as dirty");
  }
  auto dirty = contents.dirty_blocks();
  std::ranges::sort(dirty);
  const copy_geometry geometry{
      .block_size = to_bytes(sectors{metadata.block.data_block_size}),
      .origin_begin = to_bytes(options.origin_offset),
      .origin_end = end_of(origin),
      .fast_begin = to_bytes(options.fast_offset),
      .fast_end = end_of(fast),
  };
  block_copier copier{origin, fast, geometry, options.buffer_size, options.nr_retries};
  const std::vector<cache_block> failed = copier.copy(dirty, to.watcher());
  if (const auto error = origin.flush()) {
    return fail(failure::environment,
                fmt::format("cannot flush the origin: {}: what was copied may "
                            "be lost, and all stays dirty",
                            error.message()));
  }
  to.answer(
      fmt::format("{} of {} dirty blocks copied", dirty.size() - failed.size(), dirty.size()));
  tell_failed(failed, options.list_failed, to);
  if (options.update_metadata && dirty.size() != failed.size()) {
    // A clean block must be the same on both devices after a power cut, too. Whoever wrote it to
    // the fast device may have been stopped before it was flushed.
    if (const auto error = fast.flush()) {
      return fail(failure::environment,
                  fmt::format("cannot flush the fast device: {}: what was copied still counts as "
                              "dirty",
                              error.message()));
    }
    std::erase_if(dirty, [&](const auto &each) {
      return std::ranges::binary_search(failed, each.cached_in);
    });
    if (auto updated = contents.mark_clean(*metadata.from, usage, dirty); !updated) {
      return fail(updated.error().kind, fmt::format("what was copied still counts as dirty: {}",
                                                    updated.error().message));
    }
  }
  return failed.empty() ? result<>{} : fail(failure::failed, "");
}

} // namespace dmcache
