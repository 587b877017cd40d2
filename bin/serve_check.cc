#include "bin/serve_check.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>

#include <fmt/format.h>

#include "base/aligned_buffer.h"
#include "base/file_device.h"
#include "base/overlay_device.h"
#include "caching/engine/cache_engine.h"
#include "caching/metadata/superblock.h"

namespace dmcache {
namespace {

// The error of the cache whose metadata these are.
std::unexpected<error> of(const std::string &path, const error &what) {
  return fail(what.kind, fmt::format("{} ({})", what.message, path));
}

// The first block that isn't all zero.
result<std::optional<metadata_block>> first_used_block(device &on) {
  constexpr std::size_t most = 1 << 20;
  aligned_buffer buffer{most};
  const std::uint64_t end = on.size().value() / metadata_block_size * metadata_block_size;
  for (std::uint64_t at = 0; at < end;) {
    const auto chunk = buffer.span().first(std::min<std::uint64_t>(most, end - at));
    if (const auto failed = transfer_and_wait(on, io_request::operation::read, bytes{at}, chunk)) {
      return fail(failure::environment, fmt::format("cannot read: {}", failed.message()));
    }
    const auto found =
        std::ranges::find_if(chunk, [](std::byte each) { return each != std::byte{0}; });
    if (found != chunk.end()) {
      const auto offset = at + static_cast<std::uint64_t>(found - chunk.begin());
      return metadata_block{offset / metadata_block_size};
    }
    at += chunk.size();
  }
  return std::nullopt;
}

// Nothing that could be of use to somebody is ever formatted.
result<> check_that_nothing_is_lost(device &metadata, const std::string &path) {
  const auto used = first_used_block(metadata);
  if (!used) {
    return of(path, used.error());
  }
  if (!*used) {
    return {};
  }
  if (read_superblock(metadata)) {
    return fail(failure::failed,
                fmt::format("{} holds a cache already: leave --create out to serve that", path));
  }
  return fail(failure::failed,
              fmt::format("{} is not all zero: block {} holds something. If it isn't needed any "
                          "more, overwrite it: dd if=/dev/zero of={} bs=1M conv=notrunc "
                          "iflag=count_bytes count={}",
                          path, **used, path, metadata.size()));
}

result<> check_that_it_holds_a_cache(device &metadata, const std::string &path) {
  const auto is_empty = holds_nothing(metadata);
  if (!is_empty) {
    return of(path, is_empty.error());
  }
  if (*is_empty) {
    return fail(failure::failed,
                fmt::format("{} holds no cache yet: --create makes a new one", path));
  }
  return {};
}

sectors whole_sectors(const opened_file &of_device) {
  return sectors{of_device.size.value() / sector_size};
}

} // namespace

result<> check_before_serving(const cache_paths &paths, const engine_options &options) {
  auto files = open_cache_files(paths, options.read_only ? access::read_only : access::read_write);
  if (!files) {
    return std::unexpected{files.error()};
  }
  auto metadata = make_file_device(std::move(files->metadata), paths.metadata);
  if (!metadata) {
    return std::unexpected{metadata.error()};
  }
  const auto checked = options.may_format ? check_that_nothing_is_lost(**metadata, paths.metadata)
                                          : check_that_it_holds_a_cache(**metadata, paths.metadata);
  if (!checked) {
    return checked;
  }
  overlay_device rehearsed{**metadata};
  const auto activated =
      cache_engine::open({.metadata = rehearsed,
                          .fast_size = whole_sectors(files->fast),
                          .origin_size = whole_sectors(files->origin)},
                         options, std::chrono::steady_clock::now().time_since_epoch());
  if (!activated && activated.error().kind == failure::usage) { // a policy's name or setting
    return std::unexpected{activated.error()};
  }
  return activated ? result<>{} : of(paths.metadata, activated.error());
}

} // namespace dmcache
