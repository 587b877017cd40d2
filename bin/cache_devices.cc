#include "bin/cache_devices.h"

#include <array>
#include <utility>

#include "base/storage_layers.h"

namespace dmcache {

void add_device_options(command_line &line) {
  line.add("metadata-device", "DEVICE", "the cache's metadata device");
  line.add("origin-device", "DEVICE", "the origin");
  line.add("fast-device", "DEVICE", "the fast (cache) device");
}

device_names names_of_devices(const command_line &line) {
  return {.origin = fmt::format("the origin ({})", line.text("origin-device")),
          .fast = fmt::format("the fast device ({})", line.text("fast-device"))};
}

result<cache_devices> open_cache_devices(const command_line &line, access metadata, access origin) {
  const std::string metadata_path = line.text("metadata-device");
  const std::string origin_path = line.text("origin-device");
  const std::string fast_path = line.text("fast-device");
  const std::array devices{device_in_role{"metadata device", metadata_path},
                           device_in_role{"fast device", fast_path},
                           device_in_role{"origin", origin_path}};
  if (auto checked = check_that_they_differ(devices); !checked) {
    return std::unexpected{checked.error()};
  }
  auto opened_metadata = open_metadata(metadata_path, metadata);
  if (!opened_metadata) {
    return std::unexpected{opened_metadata.error()};
  }
  auto opened_origin = open_file_device(origin_path, origin);
  if (!opened_origin) {
    return std::unexpected{opened_origin.error()};
  }
  auto opened_fast = open_file_device(fast_path, access::read_only);
  if (!opened_fast) {
    return std::unexpected{opened_fast.error()};
  }
  return cache_devices{std::move(*opened_metadata), std::move(*opened_origin),
                       std::move(*opened_fast)};
}

} // namespace dmcache
