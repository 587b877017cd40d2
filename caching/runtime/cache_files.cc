#include "caching/runtime/cache_files.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include <fmt/format.h>

#include "base/storage_layers.h"

namespace dmcache {
result<cache_files> open_cache_files(const cache_paths &paths, access mode) {
  const std::array devices{device_in_role{"metadata device", paths.metadata},
                           device_in_role{"fast device", paths.fast},
                           device_in_role{"origin", paths.origin}};
  if (auto checked = check_that_they_differ(devices); !checked) {
    return std::unexpected{checked.error()};
  }
  cache_files files;
  const std::array opened_files{&files.metadata, &files.fast, &files.origin};
  for (std::size_t i = 0; i < devices.size(); ++i) {
    auto opened = open_file(devices.at(i).path, mode);
    const bool is_read_only =
        opened ? opened->is_read_only_device()
               : ::access(devices.at(i).path.c_str(), W_OK) != 0 && errno == EROFS;
    if (mode == access::read_write && is_read_only) {
      return fail(failure::environment,
                  fmt::format("the {} ({}) is read-only: make it writable, or serve the cache "
                              "read-only",
                              devices.at(i).role, devices.at(i).path));
    }
    if (!opened) {
      return std::unexpected{opened.error()};
    }
    *opened_files.at(i) = std::move(*opened);
  }
  return files;
}

} // namespace dmcache
