#include "caching/runtime/origin_extents.h"

#include <algorithm>

namespace dmcache {
namespace {

constexpr std::uint64_t max_blocks = 1024;
constexpr std::size_t max_extents = 4096;

void add(std::vector<origin_extent> &to, origin_extent next) {
  if (!to.empty() && to.back().is_hole == next.is_hole) {
    to.back().length = to.back().length + next.length.value();
  } else {
    to.push_back(next);
  }
}

} // namespace

std::vector<origin_extent> uncached_extents(const cache_state &state, bytes offset, bytes end) {
  std::vector<origin_extent> found;
  const std::uint64_t size = state.block_size;
  std::uint64_t at = offset.value();
  for (std::uint64_t i = 0; i < max_blocks && at < end.value(); ++i) {
    const std::uint64_t block = at / size;
    const std::uint64_t next = std::min((block + 1) * size, end.value());
    // In this mode nobody knows what is mapped, and reading fails.
    const bool is_cached = state.mode_of_metadata == metadata_mode::fail ||
                           state.mappings->find(origin_block{block}).has_value();
    add(found, {bytes{next - at}, !is_cached});
    at = next;
  }
  return found;
}

std::vector<origin_extent> holes_of(const std::vector<origin_extent> &uncached, bytes offset,
                                    const blocking_file &origin) {
  std::vector<origin_extent> found;
  bytes at = offset;
  for (const origin_extent &each : uncached) {
    const bytes end = at + each.length.value();
    if (!each.is_hole) {
      add(found, each);
      at = end;
    }
    while (at < end && found.size() < max_extents) {
      const blocking_file::extent next = origin.extent_at(at);
      const bytes next_end = std::min(next.end, end);
      add(found, {bytes{next_end.value() - at.value()}, next.is_hole});
      at = next_end;
    }
    if (at != end) {
      break;
    }
  }
  return found;
}

} // namespace dmcache
