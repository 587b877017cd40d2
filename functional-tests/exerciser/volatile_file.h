// A file or block device with a write cache that a power cut empties: what is written can be read
// at once, but each sector that wasn't flushed may lose some of what was written to it last.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <system_error>
#include <unordered_map>
#include <vector>

#include "base/file_descriptor.h"
#include "base/units.h"

namespace dmcache::exerciser {

class volatile_file {
 public:
  // Throws std::system_error. A device is not read through the page cache, which knows nothing of
  // what others write to the device.
  explicit volatile_file(const std::string &path);

  bytes size() const { return size_; }

  // These take any whole sectors. On a device the memory has to be aligned to 512 bytes as well.
  std::error_code read(bytes offset, std::span<std::byte> into);
  std::error_code write(bytes offset, std::span<const std::byte> data);
  std::error_code write_zeroes(bytes offset, bytes length);
  std::error_code flush();

  // Each sector becomes what it was at some time since the last flush.
  void cut_power(std::mt19937_64 &chance);

 private:
  using sector_data = std::array<std::byte, sector_size>;

  std::error_code remember(bytes offset, std::uint64_t length);

  file_descriptor file_;
  bytes size_;
  // What a sector held before each write since the last flush, by the sector's number.
  std::unordered_map<std::uint64_t, std::vector<sector_data>> earlier_;
};

} // namespace dmcache::exerciser
