#include "caching/runtime/cache_files.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <span>
#include <utility>

#include <fmt/format.h>

#include "base/device.h"
#include "base/storage_layers.h"

namespace dmcache {
namespace {

result<> check_that_no_page_is_shared(std::span<const device_in_role> devices) {
  const std::uint64_t page =
      std::max<std::uint64_t>(io_alignment, static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)));
  for (const auto &[role, part] : devices) {
    const bool is_alone = std::ranges::count_if(devices, [&](const device_in_role &other) {
                            return is_same_file(part.path, other.part.path);
                          }) <= 1;
    const std::uint64_t end = part.begin.value() + (part.size ? part.size->value() : 0);
    if (!is_alone && (part.begin.value() % page != 0 || end % page != 0)) {
      return fail(
          failure::usage,
          fmt::format("the {} is a part of {} beside another one: both must begin and end at "
                      "multiples of {} bytes",
                      role, part.path, page));
    }
  }
  return {};
}

} // namespace

result<cache_files> open_cache_files(const cache_paths &paths, access mode) {
  const std::array devices{device_in_role{"metadata device", paths.metadata},
                           device_in_role{"fast device", paths.fast},
                           device_in_role{"origin", paths.origin}};
  if (auto checked = check_that_they_differ(devices); !checked) {
    return std::unexpected{checked.error()};
  }
  if (auto checked = check_that_no_page_is_shared(devices); !checked) {
    return std::unexpected{checked.error()};
  }
  auto opened =
      open_files(std::array{part_to_open{paths.metadata, mode}, part_to_open{paths.fast, mode},
                            part_to_open{paths.origin, mode}},
                 paths.files_locked_by);
  for (std::size_t i = 0; i < devices.size() && mode == access::read_write; ++i) {
    const std::string &path = devices.at(i).part.path;
    const bool is_read_only = opened ? (*opened)[i].is_read_only_device()
                                     : ::access(path.c_str(), W_OK) != 0 && errno == EROFS;
    if (is_read_only) {
      return fail(failure::environment,
                  fmt::format("the {} ({}) is read-only: make it writable, or serve the cache "
                              "read-only",
                              devices.at(i).role, path));
    }
  }
  if (!opened) {
    return std::unexpected{opened.error()};
  }
  return cache_files{.metadata = std::move((*opened)[0]),
                     .fast = std::move((*opened)[1]),
                     .origin = std::move((*opened)[2])};
}

} // namespace dmcache
