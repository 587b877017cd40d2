#include "caching/runtime/cache_files.h"

#include <unistd.h>

#include <algorithm>
#include <array>
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
  if (!opened) {
    return std::unexpected{opened.error()};
  }
  return cache_files{.metadata = std::move((*opened)[0]),
                     .fast = std::move((*opened)[1]),
                     .origin = std::move((*opened)[2])};
}

} // namespace dmcache
