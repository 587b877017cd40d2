// What files and block devices stand on, so that two that share storage are not taken for different
// ones: a loop device and its file, a partition and its disk, what device-mapper or md stack and
// what they are made of.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace dmcache {

class storage_layers {
 public:
  // Of what `path` names. What can't be found out, for want of /sys or of permission, is left out.
  explicit storage_layers(const std::string &path);
  // Of a block device, called `name`, whose layers the folder `sysfs` describes as /sys does.
  storage_layers(dev_t device, std::string name, std::string sysfs);

  // Says how the two share storage, if they certainly do; parts of a third that don't overlap, or
  // of which nothing is known, are not the same storage.
  std::optional<std::string> overlap(const storage_layers &other) const;

 private:
  struct identity {
    bool is_block_device;
    dev_t device; // which it is, or which the file is on
    ino_t file;

    bool operator==(const identity &) const = default;
  };
  struct range { // of bytes
    std::uint64_t begin = 0;
    std::uint64_t end = std::numeric_limits<std::uint64_t>::max();

    bool is_all() const { return *this == range{}; }
    bool operator==(const range &) const = default;
  };
  struct layer {
    identity is;
    std::string name;
    std::optional<range> used; // none: it isn't known which part
  };

  static std::optional<identity> identity_of(const std::string &path);
  void add(const layer &on);
  void add_layers_of_partition(const std::string &folder, const layer &partition);
  void add_layers_of_loop(const std::string &folder, const layer &loop);
  void add_slaves(const std::string &folder);
  std::string folder_of(dev_t device) const;

  std::string sysfs_;
  std::vector<layer> layers_; // the first is what was named
};

struct device_in_role {
  std::string_view role; // as in "the fast device"
  std::string path;
};

// Fails with failure::usage, naming both and saying why, if two of these share storage.
result<> check_that_they_differ(std::span<const device_in_role> devices);

} // namespace dmcache
