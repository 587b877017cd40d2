#include "bin/serve/device_locks.h"

namespace dmcache {

result<device_locks> device_locks::take(const cache_paths &paths, access mode) {
  device_locks made;
  made.mode_ = mode;
  for (const std::string &each : {paths.metadata, paths.fast, paths.origin}) {
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
