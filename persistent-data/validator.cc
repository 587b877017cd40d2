#include "persistent-data/validator.h"

#include <cstring>

#include "base/crc32c.h"
#include "base/zeroes.h"

namespace dmcache {
namespace {

std::uint32_t checksum_of(const block_type &type, block_view block) {
  return crc32c(block.subspan<sizeof(le32)>()) ^ type.checksum_xor;
}

} // namespace

const char *fault_of(const block_type &type, metadata_block where, block_view block) {
  le32 checksum;
  std::memcpy(&checksum, block.data(), sizeof checksum);
  if (checksum != checksum_of(type, block)) {
    return is_all_zero(block) ? "bad checksum: the block is all zeroes" : "bad checksum";
  }
  le64 number;
  std::memcpy(&number, block.data() + type.number_offset, sizeof number);
  return number == where.value() ? nullptr : "another block's number";
}

void seal(const block_type &type, metadata_block where,
          std::span<std::byte, metadata_block_size> block) {
  const le64 number = where.value();
  std::memcpy(block.data() + type.number_offset, &number, sizeof number);
  const le32 checksum = checksum_of(type, block);
  std::memcpy(block.data(), &checksum, sizeof checksum);
}

} // namespace dmcache
