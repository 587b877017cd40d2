#include "caching/runtime/blocking_files.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include <fmt/format.h>

#include "caching/runtime/present_time.h"

namespace dmcache {

blocking_files::blocking_files(opened_cache opened)
    : granularity_{opened.granularity}, metadata_{std::move(opened.metadata)},
      files_{{{opened.files.metadata, "the metadata device"},
              {opened.files.fast, "the fast device"},
              {opened.files.origin, "the origin"}}} {}

std::error_code blocking_files::carry_out(engine_io &io) const {
  const served_file &on = part(io.on);
  if (on.is_cut.load(std::memory_order_relaxed)) [[unlikely]] {
    return std::make_error_code(std::errc::io_error);
  }
  switch (io.op) {
  case engine_io::operation::read:
    return io.on == cache_device::origin ? read_origin(io) : on.file.read(io.offset, io.data);
  case engine_io::operation::write:
    return on.file.write(io.offset, io.data);
  case engine_io::operation::flush:
    return on.file.is_cut_short() ? std::make_error_code(std::errc::io_error) : on.file.flush();
  case engine_io::operation::discard:
    return on.file.discard(io.offset, io.length);
  case engine_io::operation::write_zeroes:
    return on.file.write_zeroes(io.offset, io.length, io.may_trim);
  case engine_io::operation::prefetch:
    break;
  }
  return std::make_error_code(std::errc::operation_not_supported);
}

std::error_code blocking_files::read_origin(engine_io &io) const {
  io.begun = present_time();
  const std::error_code error = of(io.on).read(io.offset, io.data);
  io.ended = present_time();
  return error;
}

result<opened_cache> blocking_files::opened_again(const cache_paths &paths) const {
  return each_again(paths, [](const opened_file &opened, const device_part &part) {
    opened_file same = opened.duplicate();
    return same.file.is_open()
               ? result<opened_file>{std::move(same)}
               : fail(failure::environment,
                      fmt::format("{} can't be opened once more: {}", part.path,
                                  std::error_code{errno, std::generic_category()}.message()));
  });
}

result<opened_cache> blocking_files::measured_again(const cache_paths &paths) const {
  return each_again(paths, [](const opened_file &opened, const device_part &part) {
    return opened.measured_again(part);
  });
}

template <typename Again>
result<opened_cache> blocking_files::each_again(const cache_paths &paths, Again again) const {
  auto metadata = again(of(cache_device::metadata).opened(), paths.metadata);
  auto fast = again(of(cache_device::fast).opened(), paths.fast);
  auto origin = again(of(cache_device::origin).opened(), paths.origin);
  for (const auto *each : {&metadata, &fast, &origin}) {
    if (!*each) {
      return std::unexpected{each->error()};
    }
  }
  return opened_cache::of(
      {.metadata = std::move(*metadata), .fast = std::move(*fast), .origin = std::move(*origin)},
      paths, granularity_);
}

std::vector<std::string> blocking_files::find_cut_ones() {
  std::vector<std::string> lines;
  for (served_file &each : files_) {
    if (each.file.is_cut_short() && !each.is_cut.exchange(true)) {
      lines.push_back(fmt::format(
          "{} was made shorter than the {} bytes that it had: what it held beyond is lost, and all "
          "I/O on it fails from now on: stop the cache, and bring the file back from a copy",
          each.name, each.size));
    }
  }
  return lines;
}

bool blocking_files::are_any_cut() const {
  return std::ranges::any_of(files_, [](const served_file &each) { return each.is_cut.load(); });
}

} // namespace dmcache
