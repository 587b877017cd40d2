#include "bin/serve/device_locks.h"

#include <algorithm>

namespace dmcache {

result<device_locks> device_locks::take(const cache_paths &paths, access mode) {
  device_locks made;
  made.mode_ = mode;
  for (const device_part &part : {paths.metadata, paths.fast, paths.origin}) {
    const std::string &each = part.path;
    const bool is_locked = std::ranges::any_of(
        made.devices_, [&](const auto &before) { return is_same_file(before.first, each); });
    if (is_locked) { // another part of it
      continue;
    }
    auto lock = lock_file(each, mode);
    if (!lock) {
      return std::unexpected{lock.error()};
    }
    made.devices_.emplace_back(each, std::move(*lock));
  }
  return made;
}

std::string device_locks::in_use() const {
  for (const auto &[path, lock] : devices_) {
    if (lock.is_open() ? !lock_again(lock, mode_) : is_in_use(path, mode_)) {
      return path;
    }
  }
  return {};
}

std::vector<int> device_locks::descriptors() const {
  std::vector<int> open_ones;
  for (const auto &[path, lock] : devices_) {
    if (lock.is_open()) {
      open_ones.push_back(lock.get());
    }
  }
  return open_ones;
}

} // namespace dmcache
