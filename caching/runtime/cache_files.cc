#include "caching/runtime/cache_files.h"

#include <array>
#include <utility>

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
  for (const auto &[path, file] :
       {std::pair{&paths.metadata, &files.metadata}, std::pair{&paths.fast, &files.fast},
        std::pair{&paths.origin, &files.origin}}) {
    auto opened = open_file(*path, mode, paths.files_locked_by);
    if (!opened) {
      return std::unexpected{opened.error()};
    }
    *file = std::move(*opened);
  }
  return files;
}

} // namespace dmcache
