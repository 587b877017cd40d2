#include "caching/runtime/opened_cache.h"

#include <fcntl.h>
#include <malloc.h>
#include <sys/prctl.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "base/file_device.h"
#include "caching/runtime/device_guards.h"
#include "caching/runtime/present_time.h"

namespace dmcache {
namespace {

std::string reason() {
  return std::error_code{errno, std::generic_category()}.message();
}

// A client on this machine can be waiting for this process in order to free memory. So the process
// must get memory without writing to that client's disk first, and write without being slowed down
// for the sake of others. Threads that are made later inherit this. Without the privilege for it
// (CAP_SYS_RESOURCE), or on kernels before 5.6, it goes without.
void serve_those_who_free_memory() {
  ::prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0); // NOLINT: so it is declared
}

// From now on the open file is read and written through the page cache.
result<> use_page_cache(const opened_file &opened, const std::string &path) {
  const int flags = ::fcntl(opened.file.get(), F_GETFL);
  if (flags < 0 || ::fcntl(opened.file.get(), F_SETFL, flags & ~O_DIRECT) != 0) {
    return fail(failure::environment,
                fmt::format("{} can't be used through the page cache: {}", path, reason()));
  }
  return {};
}

result<std::size_t> granularity_of(const cache_files &files, const cache_paths &paths, data_io io) {
  if (io == data_io::direct) {
    return std::max(files.fast.logical_block_size(), files.origin.logical_block_size());
  }
  result<> usable = use_page_cache(files.fast, paths.fast.path);
  usable = usable ? use_page_cache(files.origin, paths.origin.path) : usable;
  return usable ? result<std::size_t>{sector_size} : std::unexpected{usable.error()};
}

result<std::unique_ptr<device>> device_of(const opened_file &opened, const std::string &path) {
  opened_file again = opened.duplicate();
  if (!again.file.is_open()) {
    return fail(failure::environment,
                fmt::format("{} can't be opened once more: {}", path, reason()));
  }
  return make_file_device(std::move(again));
}

} // namespace

result<opened_cache> opened_cache::open(const cache_paths &paths, access mode, data_io io) {
  auto files = open_cache_files(paths, mode);
  if (!files) {
    return std::unexpected{files.error()};
  }
  for (const opened_file *each : {&files->metadata, &files->fast, &files->origin}) {
    each->forget_cached_pages();
  }
  serve_those_who_free_memory();
  const auto granularity = granularity_of(*files, paths, io);
  if (!granularity) {
    return std::unexpected{granularity.error()};
  }
  return of(std::move(*files), paths, *granularity);
}

result<opened_cache> opened_cache::of(cache_files files, const cache_paths &paths,
                                      std::size_t granularity) {
  auto metadata = device_of(files.metadata, paths.metadata.path);
  if (!metadata) {
    return std::unexpected{metadata.error()};
  }
  return opened_cache{std::move(files), std::move(*metadata), granularity};
}

sectors opened_cache::usable_size(const opened_file &of) const {
  return sectors{of.size.value() / granularity * granularity / sector_size};
}

result<std::unique_ptr<cache_engine>> opened_cache::activate(device &metadata_used,
                                                             const engine_options &options) const {
  const sectors fast_size = usable_size(files.fast);
  const sectors origin_size = usable_size(files.origin);
  auto fast = device_of(files.fast, "the fast device");
  auto origin = device_of(files.origin, "the origin");
  for (const auto *each : {&fast, &origin}) {
    if (!*each) {
      return std::unexpected{each->error()};
    }
  }
  const guarded_devices guarded{**fast, **origin, files.fast, fast_size, origin_size};
  auto engine = cache_engine::open(
      {.metadata = metadata_used,
       .fast_size = fast_size,
       .origin_size = origin_size,
       .origin_can_discard = files.origin.can_discard(),
       .inspect =
           [&](const found_cache &found) {
             auto checked = check_devices(found, guarded, options.accepted);
             return checked && found.is_new
                        ? check_metadata_size(metadata_used.size(), found.nr_cache_blocks)
                        : checked;
           }},
      options, present_time());
  // To read the metadata takes more memory than to serve the cache, for years perhaps.
  ::malloc_trim(0);
  return engine;
}

} // namespace dmcache
