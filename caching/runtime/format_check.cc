#include "caching/runtime/format_check.h"

#include <algorithm>
#include <optional>

#include <fmt/format.h>

#include "base/aligned_buffer.h"
#include "caching/metadata/superblock.h"

namespace dmcache {
namespace {

// Finds the first block that isn't all zero, and reads no further.
result<std::optional<metadata_block>> first_used_block(device &of) {
  constexpr std::size_t most = 1 << 20;
  aligned_buffer buffer{most};
  // No metadata stand beyond what a space map can cover.
  const std::uint64_t end =
      std::min(of.size().value() / metadata_block_size, max_metadata_blocks) * metadata_block_size;
  for (std::uint64_t at = 0; at < end;) {
    const std::uint64_t data = of.next_data(bytes{at}).value();
    if (at = std::max(at, data / metadata_block_size * metadata_block_size); at >= end) {
      break;
    }
    const auto chunk = buffer.span().first(std::min<std::uint64_t>(most, end - at));
    if (const auto failed = transfer_and_wait(of, io_request::operation::read, bytes{at}, chunk)) {
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

} // namespace

result<> check_that_no_cache_is_lost(device &metadata, const device_part &part) {
  const std::string &path = part.path;
  const auto used = first_used_block(metadata);
  if (!used) {
    return fail(used.error().kind, fmt::format("{} ({})", used.error().message, path));
  }
  if (!*used || **used == superblock_location) {
    return {};
  }
  return fail(failure::failed,
              fmt::format("{} has no superblock, but block {} holds something: if there was a "
                          "cache, cache_repair may bring it back. If there was none, {}",
                          path, **used, how_to_overwrite(metadata, part)));
}

std::string how_to_overwrite(const device &metadata, const device_part &part) {
  return fmt::format("overwrite it: dd if=/dev/zero of={} bs=1M conv=notrunc iflag=count_bytes "
                     "count={}{}",
                     part.path, metadata.size(),
                     part.begin == bytes{} ? ""
                                           : fmt::format(" oflag=seek_bytes seek={}", part.begin));
}

} // namespace dmcache
