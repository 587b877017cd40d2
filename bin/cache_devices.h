// The three devices of a cache that isn't active, as a command line names them.
#pragma once

#include <memory>

#include "base/device.h"
#include "bin/command.h"
#include "caching/tools/block_failure.h"
#include "caching/tools/metadata_device.h"

namespace dmcache {

struct cache_devices {
  metadata_device metadata;
  std::unique_ptr<device> origin;
  std::unique_ptr<device> fast;
  bytes origin_begin; // of the part that is used
  bytes fast_begin;
};

// The options that name the devices; all of them are needed.
void add_device_options(command_line &line);
inline constexpr auto device_options = {"metadata-device", "origin-device", "fast-device"};

// What messages call the devices.
device_names names_of_devices(const command_line &line);

// Opens them, the fast device to be read. Fails with failure::usage if two of them share storage, and
// otherwise as open_metadata() and open_file_device() do.
result<cache_devices> open_cache_devices(const command_line &line, access metadata, access origin);

} // namespace dmcache
