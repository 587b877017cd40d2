// cache_verify: is what is cached the same as on the origin?
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "base/report.h"
#include "caching/tools/block_failure.h"
#include "caching/tools/metadata_device.h"

namespace dmcache {

struct verify_options {
  std::uint64_t buffer_size = std::uint64_t{64} << 20; // bytes
  bool list = false;        // tells each clean block that differs, and each dirty one that is equal
  bool clear_equal = false; // dirty blocks that are equal become clean
  bool drop_stale = false;  // clean blocks that differ are unmapped
  bool accepts_differing = false; // changes what it is told to, though most clean blocks differ
  bool as_json = false;           // the answer is a JSON object
  std::optional<std::string> map_path{}; // where a map of the origin is written: "+" if equal
  bytes origin_begin{};                  // where the origin begins in what the map is about
  device_names names{};
  std::function<bool()> is_stopped{}; // asked for each MiB, if set: is that enough?
};

// Compares all mapped blocks with the origin. That dirty ones differ is as it should be; that clean
// ones do is a failure, unless the origin has discarded them or they are unmapped. Changes nothing
// unless told to, nor if most clean blocks differ, as they do on other devices. Fails with failure::environment if blocks could not be read; when it is stopped,
// it tells what it has found so far, changes nothing, and has failed.
result<> verify(const metadata_device &metadata, device &origin, device &fast,
                const verify_options &options, report &to);

} // namespace dmcache
