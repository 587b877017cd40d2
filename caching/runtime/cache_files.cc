#include "caching/runtime/cache_files.h"

#include <array>
#include <utility>

#include <fmt/format.h>

namespace dmcache {
namespace {

result<> check_that_they_differ(const cache_paths &paths) {
  const std::array roles{std::pair{"metadata device", &paths.metadata},
                         std::pair{"fast device", &paths.fast}, std::pair{"origin", &paths.origin}};
  for (std::size_t i = 0; i < roles.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      if (is_same_file(*roles.at(i).second, *roles.at(j).second)) {
        return fail(failure::usage,
                    fmt::format("the {} and the {} are the same device: {}", roles.at(j).first,
                                roles.at(i).first, *roles.at(i).second));
      }
    }
  }
  return {};
}

} // namespace

result<cache_files> open_cache_files(const cache_paths &paths, access mode) {
  if (auto checked = check_that_they_differ(paths); !checked) {
    return std::unexpected{checked.error()};
  }
  cache_files files;
  for (const auto &[path, file] :
       {std::pair{&paths.metadata, &files.metadata}, std::pair{&paths.fast, &files.fast},
        std::pair{&paths.origin, &files.origin}}) {
    auto opened = open_file(*path, mode);
    if (!opened) {
      return std::unexpected{opened.error()};
    }
    *file = std::move(*opened);
  }
  return files;
}

} // namespace dmcache
