#include "caching/metadata/superblock_mend.h"

#include <array>
#include <cstring>
#include <utility>

#include "base/aligned_buffer.h"
#include "base/crc32c.h"
#include "persistent-data/block_stream.h"

namespace dmcache {
namespace {

constexpr unsigned bits_per_byte = 8;
constexpr std::uint32_t byte_mask = 0xff;

std::span<const std::byte> checked_bytes(const superblock &block) {
  return std::as_bytes(std::span{&block, 1}).subspan(sizeof block.checksum);
}

// What the register of the checksum becomes by a byte of zeroes.
std::uint32_t advance(std::uint32_t crc) {
  constexpr std::uint32_t reflected_castagnoli = 0x82f63b78;
  for (unsigned bit = 0; bit < bits_per_byte; ++bit) {
    crc = (crc >> 1U) ^ ((crc & 1U) != 0 ? reflected_castagnoli : 0);
  }
  return crc;
}

} // namespace

std::optional<superblock> read_first_block_as_is(device &from) {
  if (from.size().value() < metadata_block_size) {
    return {};
  }
  block_stream first{from, 1, [](std::size_t) { return superblock_location; }};
  const auto read = first.next();
  if (read->error) {
    return {};
  }
  superblock block;
  std::memcpy(&block, read->data.data(), sizeof block);
  return block;
}

std::optional<superblock> mend_one_byte(const superblock &block) {
  const std::uint32_t due = crc32c(checked_bytes(block)) ^ superblock_type.checksum_xor;
  const std::uint32_t syndrome = due ^ block.checksum;
  std::optional<superblock> mended;
  std::size_t ways = 0;
  for (unsigned shift = 0; shift < sizeof(le32) * bits_per_byte; shift += bits_per_byte) {
    if ((syndrome & ~(byte_mask << shift)) == 0) { // the checksum itself is damaged
      mended = block;
      mended->checksum = due;
      ++ways;
    }
  }
  // The checksum is linear: a changed byte changes it by what that byte alone would give, moved on
  // by the bytes that follow.
  const std::size_t size = checked_bytes(block).size();
  for (std::uint32_t change = 1; change <= byte_mask; ++change) {
    std::uint32_t effect = advance(change);
    for (std::size_t at = size; at-- > 0; effect = advance(effect)) {
      if (effect != syndrome) {
        continue;
      }
      mended = block;
      std::as_writable_bytes(std::span{&*mended, 1})[sizeof block.checksum + at] ^=
          static_cast<std::byte>(change);
      ++ways;
    }
  }
  return ways == 1 && mended->block_number == superblock_location.value() ? mended : std::nullopt;
}

bool is_plausible(const superblock &block) {
  return block.magic == superblock::magic_value && (block.version == 1 || block.version == 2) &&
         block.incompat_flags == 0 && is_legal_data_block_size(block.data_block_size) &&
         block.cache_blocks != 0;
}

bool is_block_size_confirmed(const superblock &block) {
  return block.discard_nr_blocks != 0 && block.discard_nr_blocks <= max_discard_blocks / 2 &&
         block.discard_block_size == block.data_block_size;
}

std::uint64_t nr_discard_blocks_of(sectors origin, sectors data_block_size) {
  std::uint64_t size = data_block_size.value();
  while (origin.value() / size >= max_discard_blocks) {
    size *= 2;
  }
  return divided_up(origin.value(), size);
}

} // namespace dmcache
