#include "base/crc32c.h"

#include <isa-l/crc.h>

#include "base/assert.h"

namespace dmcache {

std::uint32_t crc32c(std::span<const std::byte> data) {
  require(data.size() <= 0x7fffffff, "a checksum covers less than 2 GiB");
  // The library only reads through this pointer, but does not say so in its type.
  auto *first = reinterpret_cast<unsigned char *>(const_cast<std::byte *>(data.data())); // NOLINT
  return crc32_iscsi(first, static_cast<int>(data.size()), 0xffffffff);
}

} // namespace dmcache
