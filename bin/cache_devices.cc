#include "bin/cache_devices.h"

#include <array>
#include <utility>

#include "base/storage_layers.h"

namespace dmcache {

void add_device_options(command_line &line) {
  line.add("metadata-device", "DEVICE", "the cache's metadata device");
  line.add("origin-device", "DEVICE", "the origin");
  line.add("fast-device", "DEVICE", "the fast (cache) device");
  line.add_parts_of(device_options);
}

device_names names_of_devices(const command_line &line) {
  return {.origin = fmt::format("the origin ({})", line.text("origin-device")),
          .fast = fmt::format("the fast device ({})", line.text("fast-device"))};
}

result<cache_devices> open_cache_devices(const command_line &line, access metadata, access origin) {
  const auto metadata_part = line.part("metadata-device");
  const auto fast_part = line.part("fast-device");
  const auto origin_part = line.part("origin-device");
  for (const auto *part : {&metadata_part, &fast_part, &origin_part}) {
    if (!*part) {
      return std::unexpected{part->error()};
    }
  }
  const std::array devices{device_in_role{"metadata device", *metadata_part},
                           device_in_role{"fast device", *fast_part},
                           device_in_role{"origin", *origin_part}};
  if (auto checked = check_that_they_differ(devices); !checked) {
    return std::unexpected{checked.error()};
  }
  auto opened = open_files(std::array{part_to_open{*metadata_part, metadata},
                                      part_to_open{*fast_part, access::read_only},
                                      part_to_open{*origin_part, origin}});
  if (!opened) {
    return std::unexpected{opened.error()};
  }
  auto on_metadata = open_metadata(std::move((*opened)[0]), metadata_part->path);
  if (!on_metadata) {
    return std::unexpected{on_metadata.error()};
  }
  return cache_devices{.metadata = std::move(*on_metadata),
                       .origin = make_file_device(std::move((*opened)[2])),
                       .fast = make_file_device(std::move((*opened)[1])),
                       .origin_begin = origin_part->begin,
                       .fast_begin = fast_part->begin};
}

} // namespace dmcache
