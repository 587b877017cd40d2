// A target is what is exercised: a cache that the engine runs, or a block device, such as a cache
// that the kernel runs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>

#include "base/units.h"
#include "caching/engine/request.h"

namespace dmcache::exerciser {

struct operation {
  request::operation op{};
  bool fua = false;
  bytes offset;
  bytes length;
  std::span<std::byte> data; // of reads and writes; aligned
};

// The power failed, and the target can't be used any more.
class power_cut : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class target {
 public:
  target() = default;
  target(const target &) = delete;
  target &operator=(const target &) = delete;
  virtual ~target() = default;

  virtual bytes size() const = 0;
  // Carries out all of them at the same time. No two of them overlap. Throws if one fails, or
  // power_cut.
  virtual void carry_out(std::span<operation> batch) = 0;
};

} // namespace dmcache::exerciser
