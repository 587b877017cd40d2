// Why a block could not be read or written, and how that is told.
#pragma once

#include <span>
#include <string>
#include <system_error>
#include <vector>

#include "base/units.h"

namespace dmcache {

struct block_failure {
  enum class step { reading_fast, reading_origin, writing_origin, beyond_fast, beyond_origin };

  cache_block block;
  step failed;
  bytes at;              // of that device
  std::error_code error; // of a step that was tried

  bool is_like(const block_failure &other) const {
    return failed == other.failed && error == other.error;
  }
};

// What messages call the devices.
struct device_names {
  std::string origin = "the origin";
  std::string fast = "the fast device";
};

// Those with the same reason together, by the first of each kind.
std::vector<std::vector<block_failure>> by_reason(std::span<const block_failure> failed);

// "cannot read the fast device (/dev/sdb): Input/output error (first at byte 4096)"
std::string reason_of(const block_failure &first, const device_names &names);

} // namespace dmcache
