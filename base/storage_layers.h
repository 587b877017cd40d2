// What files and block devices stand on, so that two that share storage are not taken for different
// ones: a loop device and its file, a partition and its disk, what device-mapper or md stack and
// what they are made of. Parts of one that don't overlap share nothing.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/device_part.h"
#include "base/file_identity.h"
#include "base/result.h"

namespace dmcache {

class storage_layers {
 public:
  // Of what `part` names. What can't be found out, for want of /sys or of permission, is left out.
  explicit storage_layers(const device_part &part);
  // Of a block device, whose path counts as a name only, as the folder `sysfs` describes it in the
  // way of /sys.
  storage_layers(dev_t device, const device_part &part, std::string sysfs);

  // Says how the two share storage. Parts of a third that don't overlap, or of which nothing is
  // known, are not the same storage; but what lies on an unknown part of the other may share it.
  std::optional<std::string> overlap(const storage_layers &other) const;

  // Is it, or does it lie on, this file or device, or a part of that?
  bool lies_on(const file_identity &other) const;

 private:
  struct range { // of bytes
    static constexpr std::uint64_t endless = std::numeric_limits<std::uint64_t>::max();
    std::uint64_t begin;
    std::uint64_t end;

    explicit range(std::uint64_t from = 0, std::uint64_t to = endless) : begin{from}, end{to} {}
    explicit range(const device_part &part);

    bool is_all() const { return *this == range{}; }
    bool overlaps(const range &other) const { return begin < other.end && other.begin < end; }
    bool operator==(const range &) const = default;
  };
  struct layer {
    file_identity is;
    std::string name;
    std::optional<range> used; // none: it isn't known which part
  };

  void add(const layer &on);
  void add_layers_of_partition(const std::string &folder, const layer &partition);
  void add_layers_of_loop(const std::string &folder, const layer &loop);
  void add_slaves(const std::string &folder);
  std::string folder_of(dev_t device) const;

  std::string sysfs_;
  std::vector<layer> layers_; // the first is what was named
};

// Does somebody use a loop device exclusively that shares storage with the part, and that the part itself
// isn't on?
bool is_used_through_loop_device(const device_part &part);

struct device_in_role {
  std::string_view role; // as in "the fast device"
  device_part part;
};

// Fails with failure::usage, saying why, if what is to be written would go over what is read. An output
// that isn't there yet goes over nothing.
result<> check_that_they_are_apart(const device_part &input, const device_part &output);

// Fails with failure::usage, naming both and saying why, if two of these share storage.
result<> check_that_they_differ(std::span<const device_in_role> devices);

} // namespace dmcache
