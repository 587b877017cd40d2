// CRC-32C (Castagnoli polynomial, reflected), by the processor's own instruction.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace dmcache {

// The register after `data`, started from all ones and *not* inverted at the end: the form that
// device-mapper's metadata uses (persistent-data/format.md, "Checksums"). `data` has less than
// 2 GiB.
std::uint32_t crc32c(std::span<const std::byte> data);

} // namespace dmcache
