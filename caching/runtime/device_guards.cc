#include "caching/runtime/device_guards.h"

#include <fmt/format.h>

#include "base/signature.h"
#include "caching/metadata/clean_sample.h"
#include "caching/metadata/metadata_size.h"

namespace dmcache {
namespace {

std::unexpected<error> refused(std::string why) {
  return fail(failure::failed, std::move(why));
}

// The last activation has left the number of cache blocks, and that of the origin's discard blocks,
// the last of which may be a partial one.
result<> check_sizes(const found_cache &found, const guarded_devices &on) {
  const std::uint64_t before = found.block.cache_blocks;
  if (before != 0 && before != found.nr_cache_blocks) {
    return refused(
        fmt::format("the fast device has {} cache blocks, and had {}: --accept-resize, if "
                    "it was resized; or else it is another one",
                    found.nr_cache_blocks, before));
  }
  if (found.nr_beyond_origin != 0) {
    return refused(
        fmt::format("{} clean blocks are mapped to beyond the end of the origin, which has "
                    "{} sectors: --accept-resize, if it was made smaller; or else it is "
                    "another one",
                    found.nr_beyond_origin, on.origin_size));
  }
  const std::uint64_t nr_discard_blocks = found.block.discard_nr_blocks;
  const std::uint64_t size = found.block.discard_block_size;
  if (nr_discard_blocks == 0 || size == 0) {
    return {};
  }
  if (divided_up(on.origin_size.value(), size) != nr_discard_blocks) {
    return refused(
        fmt::format("the origin has {} sectors, and had about {}: --accept-resize, if it "
                    "was resized; or else it is another one",
                    on.origin_size, nr_discard_blocks * size));
  }
  return {};
}

bool is_discarded(const discard_set &discards, origin_block block, sectors block_size) {
  const std::uint64_t at = block.value() * block_size.value() / discards.block_size().value();
  return at < discards.nr_blocks() && discards.test(at);
}

result<> check_clean_blocks(const found_cache &found, const guarded_devices &on) {
  const sectors block_size{found.block.data_block_size};
  const auto clean_at = [&](cache_block block) -> std::optional<origin_block> {
    if (!found.mappings.is_mapped(block) || found.mappings.is_dirty(block)) {
      return {};
    }
    const origin_block origin = found.mappings.origin_of(block);
    return is_discarded(found.discards, origin, block_size) ? std::nullopt : std::optional{origin};
  };
  auto checked =
      check_sample({.fast = on.fast, .origin = on.origin, .block_size = to_bytes(block_size)},
                   sample_of(found.mappings.nr_cache_blocks(), clean_at));
  if (!checked && checked.error().kind == failure::failed) {
    return refused(checked.error().message + "; --force differing uses them all the same");
  }
  return checked;
}

result<> check_for_new_cache(const guarded_devices &on, const accepted_devices &accepted) {
  if (const auto found = signature_on(on.fast_file); found && !accepted.with_contents) {
    return refused(
        fmt::format("the fast device holds {}, which would be overwritten: --force contents "
                    "uses it all the same",
                    *found));
  }
  if (on.fast_size >= on.origin_size && !accepted.large_fast) {
    return refused(
        fmt::format("the fast device, of {} sectors, is as large as the origin, of {}: have "
                    "they changed places? --force large-fast uses them all the same",
                    on.fast_size, on.origin_size));
  }
  return {};
}

} // namespace

result<> check_devices(const found_cache &found, const guarded_devices &on,
                       const accepted_devices &accepted) {
  if (const auto image = image_format_on(on.origin); image && !accepted.image) {
    return refused(
        fmt::format("the origin is {}: what is served would be the image file, not the disk "
                    "in it: convert it to a raw one (qemu-img convert -O raw), or --force "
                    "image",
                    *image));
  }
  if (found.is_new) {
    return check_for_new_cache(on, accepted);
  }
  result<> checked = accepted.resized ? result<>{} : check_sizes(found, on);
  if (checked && !accepted.differing) {
    checked = check_clean_blocks(found, on);
  }
  return checked;
}

result<> check_metadata_size(bytes size, std::uint64_t nr_cache_blocks) {
  if (size >= smallest_metadata_size(nr_cache_blocks)) {
    return {};
  }
  constexpr std::uint64_t kibibyte = 1024;
  const bytes needed = to_bytes(estimate_metadata_size(nr_cache_blocks, sizeof(std::uint32_t)));
  return refused(
      fmt::format("the metadata device has {} KiB, and a cache of {} blocks needs {} KiB: "
                  "make it larger, or the cache blocks (cache_metadata_size tells the size)",
                  size.value() / kibibyte, nr_cache_blocks, divided_up(needed.value(), kibibyte)));
}

} // namespace dmcache
