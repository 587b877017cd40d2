#include "caching/runtime/device_growth.h"

#include <array>

#include <fmt/format.h>

#include "caching/metadata/metadata_size.h"
#include "persistent-data/format.h"

namespace dmcache {
namespace {

struct device_in_use {
  const char *name;
  const device_part &part;
  bytes served;
  bytes present;
};

result<> check_that_it_did_not_shrink(const device_in_use &device, std::string_view remedy) {
  if (device.present >= device.served) {
    return {};
  }
  return fail(failure::failed, fmt::format("{} has {} bytes, and had {}: {}", device.name,
                                           device.present, device.served, remedy));
}

result<> check_metadata(std::uint64_t nr_cache_blocks, const engine_status &now) {
  constexpr std::uint64_t kibibyte = 1024;
  if (now.mode_of_metadata == metadata_mode::untouched) {
    return {};
  }
  if (now.mode_of_metadata != metadata_mode::write) {
    return fail(failure::failed,
                "the metadata can't be written: stop the cache, mend the cause, and "
                "run cache_check --clear-needs-check-flag");
  }
  if (smallest_metadata_size(nr_cache_blocks).value() <= now.metadata_total * metadata_block_size) {
    return {};
  }
  return fail(failure::failed,
              fmt::format("the metadata have {} KiB, too little for {} cache blocks: stop the "
                          "cache, and {}",
                          now.metadata_total * metadata_block_size / kibibyte, nr_cache_blocks,
                          way_to_larger_metadata(nr_cache_blocks)));
}

void add_sentence(std::string &to, const std::string &added) {
  to += to.empty() ? added : "; " + added;
}

} // namespace

result<device_growth> growth_of(const cache_paths &paths, const blocking_files &served,
                                const opened_cache &measured, const engine_status &now) {
  constexpr std::string_view way_to_shrink =
      "to use it smaller, stop the cache, and start it with --accept-resize";
  const auto size_of = [&](cache_device role) { return served.of(role).opened().size; };
  const device_in_use metadata{"the metadata device", paths.metadata,
                               size_of(cache_device::metadata), measured.files.metadata.size};
  const device_in_use fast{"the fast device", paths.fast, size_of(cache_device::fast),
                           measured.files.fast.size};
  const device_in_use origin{"the origin", paths.origin, size_of(cache_device::origin),
                             measured.files.origin.size};
  auto checked = check_that_it_did_not_shrink(metadata, "make it as large as it was");
  checked = checked ? check_that_it_did_not_shrink(fast, way_to_shrink) : checked;
  checked = checked ? check_that_it_did_not_shrink(origin, way_to_shrink) : checked;
  if (checked && served.are_any_cut()) {
    checked =
        fail(failure::failed, "a device was made shorter while it was served: stop the cache, "
                              "and bring the file back from a copy");
  }
  const sectors origin_size = measured.usable_size(measured.files.origin);
  const std::uint64_t nr_cache_blocks =
      measured.usable_size(measured.files.fast).value() / now.block_size.value();
  checked = checked ? check_metadata(nr_cache_blocks, now) : checked;
  if (!checked) {
    return std::unexpected{checked.error()};
  }
  device_growth found;
  if (origin_size > now.origin_size) {
    add_sentence(found.in_words, fmt::format("the origin has {} sectors, and had {}: clients see "
                                             "that when they connect anew",
                                             origin_size, now.origin_size));
  }
  if (nr_cache_blocks > now.cache_total) {
    add_sentence(found.in_words, fmt::format("the fast device has {} cache blocks, and had {}",
                                             nr_cache_blocks, now.cache_total));
  }
  found.is_any = !found.in_words.empty();
  if (!found.is_any) {
    found.in_words = "the devices are as large as before";
    for (const device_in_use &each : {fast, origin}) {
      if (each.part.size) {
        add_sentence(found.in_words,
                     fmt::format("{} is a part whose size was given, and doesn't grow", each.name));
      }
    }
  }
  return found;
}

} // namespace dmcache
