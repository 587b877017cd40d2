#include "base/storage_layers.h"

#include <sys/sysmacros.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "base/loop_devices.h"
#include "base/opened_file.h"
#include "base/units.h"

namespace dmcache {
namespace {

namespace fs = std::filesystem;

std::optional<std::uint64_t> number_in(const std::string &path) {
  std::uint64_t number = 0;
  return std::ifstream{path} >> number ? std::optional{number} : std::nullopt;
}

// A file "dev" in a device's folder says "MAJOR:MINOR".
std::optional<dev_t> device_in(const std::string &path) {
  unsigned major = 0;
  unsigned minor = 0;
  char colon = 0;
  return std::ifstream{path} >> major >> colon >> minor
             ? std::optional{gnu_dev_makedev(major, minor)}
             : std::nullopt;
}

// What the kernel calls the device whose folder this is.
std::string kernel_name(const std::string &folder) {
  std::error_code error;
  return "/dev/" + fs::canonical(folder, error).filename().string();
}

} // namespace

storage_layers::range::range(const device_part &part) : begin{part.begin.value()}, end{endless} {
  if (part.size && part.size->value() < endless - begin) {
    end = begin + part.size->value();
  }
}

storage_layers::storage_layers(const device_part &part) : sysfs_{"/sys"} {
  if (const auto is = identity_of(part.path)) {
    add({*is, part.path, range{part}});
  }
}

storage_layers::storage_layers(dev_t device, const device_part &part, std::string sysfs)
    : sysfs_{std::move(sysfs)} {
  add({{true, device, 0}, part.path, range{part}});
}

std::string storage_layers::folder_of(dev_t device) const {
  return fmt::format("{}/dev/block/{}:{}", sysfs_, gnu_dev_major(device), gnu_dev_minor(device));
}

void storage_layers::add(const layer &on) {
  if (std::ranges::any_of(
          layers_, [&](const layer &each) { return each.is == on.is && each.used == on.used; })) {
    return;
  }
  layers_.push_back(on);
  if (!on.is.is_block_device) {
    return;
  }
  const std::string folder = folder_of(on.is.device);
  if (fs::exists(folder + "/partition")) {
    add_layers_of_partition(folder, on);
  } else if (fs::exists(folder + "/loop/backing_file")) {
    add_layers_of_loop(folder, on);
  } else {
    add_slaves(folder);
  }
}

void storage_layers::add_layers_of_partition(const std::string &folder, const layer &partition) {
  // The folder is a link to one within the disk's.
  const auto disk = device_in(folder + "/../dev");
  const auto start = number_in(folder + "/start"); // in sectors, as the size
  const auto size = number_in(folder + "/size");
  if (!disk) {
    return;
  }
  std::optional<range> used;
  if (partition.used && start && size) {
    const std::uint64_t begin = *start * sector_size;
    used = range{begin + partition.used->begin,
                 begin + std::min(partition.used->end, *size * sector_size)};
  }
  add({{true, *disk, 0}, kernel_name(folder + "/.."), used});
}

void storage_layers::add_layers_of_loop(const std::string &folder, const layer &loop) {
  std::string name;
  std::getline(std::ifstream{folder + "/loop/backing_file"}, name);
  const auto is = identity_beneath(kernel_name(folder), loop.is.device, name);
  if (!is) {
    return;
  }
  const auto begin = number_in(folder + "/loop/offset");
  const auto limit = number_in(folder + "/loop/sizelimit"); // 0: up to the end
  std::optional<range> used;
  if (loop.used && begin && limit) {
    constexpr std::uint64_t endless = range::endless;
    const std::uint64_t end = std::min(loop.used->end, *limit == 0 ? endless : *limit);
    used = range{*begin + loop.used->begin, end > endless - *begin ? endless : *begin + end};
  }
  add({*is, name, used});
}

// Which parts of them a stacked device uses is its own affair.
void storage_layers::add_slaves(const std::string &folder) {
  std::error_code error;
  for (const auto &each : fs::directory_iterator{folder + "/slaves", error}) {
    if (const auto device = device_in(each.path().string() + "/dev")) {
      add({{true, *device, 0}, "/dev/" + each.path().filename().string(), std::nullopt});
    }
  }
}

std::optional<std::string> storage_layers::overlap(const storage_layers &other) const {
  for (const layer &one : layers_) {
    for (const layer &its : other.layers_) {
      const bool is_own = &one == &layers_.front();
      const bool is_others = &its == &other.layers_.front();
      const bool is_shared = one.used && its.used
                                 ? one.used->overlaps(*its.used)
                                 : is_own || is_others || (one.used && one.used->is_all()) ||
                                       (its.used && its.used->is_all());
      if (one.is != its.is || !is_shared) {
        continue;
      }
      const std::string &name = layers_.front().name;
      const std::string &other_name = other.layers_.front().name;
      return is_own && is_others
                 ? (one.used->is_all() && its.used->is_all()
                        ? fmt::format("{} and {} are the same device", name, other_name)
                        : fmt::format("the parts of {} overlap", name))
             : is_own ? fmt::format("{} lies on {}", other_name, name)
             : is_others
                 ? fmt::format("{} lies on {}", name, other_name)
                 : fmt::format("{} and {} lie on the same part of {}", name, other_name, one.name);
    }
  }
  return {};
}

bool storage_layers::lies_on(const file_identity &other) const {
  return std::ranges::count(layers_, other, &layer::is) != 0;
}

bool is_used_through_loop_device(const device_part &part) {
  const storage_layers layers{part};
  return std::ranges::any_of(attached_loop_devices(), [&](const std::string &node) {
    const auto loop = identity_of(node);
    return loop && !layers.lies_on(*loop) && layers.overlap(storage_layers{{node}}) &&
           is_used_exclusively(node);
  });
}

result<> check_that_they_are_apart(const device_part &input, const device_part &output) {
  if ((input.is_whole() || output.is_whole()) && is_same_file(input.path, output.path)) {
    return fail(failure::usage, fmt::format("input and output are the same: {}", output.path));
  }
  if (const auto how = storage_layers{input}.overlap(storage_layers{output})) {
    return fail(failure::usage, fmt::format("input and output share storage: {}", *how));
  }
  return {};
}

result<> check_that_they_differ(std::span<const device_in_role> devices) {
  for (std::size_t i = 0; i < devices.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      const auto &[role, part] = devices[i];
      const auto &[role_before, part_before] = devices[j];
      const std::string &path = part.path;
      const std::string &path_before = part_before.path;
      const std::string pair = fmt::format("the {} and the {}", role_before, role);
      if (part.is_whole() && part_before.is_whole() && is_same_file(path_before, path)) {
        return fail(
            failure::usage,
            fmt::format("{} are the same device: {}", pair,
                        path == path_before ? path : fmt::format("{}, {}", path_before, path)));
      }
      if (const auto how = storage_layers{part_before}.overlap(storage_layers{part})) {
        return fail(
            failure::usage,
            fmt::format("{} share storage: {}: a cache needs three devices that have nothing "
                        "in common",
                        pair, *how));
      }
    }
  }
  return {};
}

} // namespace dmcache
