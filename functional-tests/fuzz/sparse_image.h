// A metadata image as a fuzzer's input: only the blocks that are there, and of each only the bytes
// up to the last that is not zero.
//
// An input is a little-endian u16, the number of blocks of the device (up to max_blocks; larger
// ones count as that), then records: u8 what the block is sealed as, u16 its number, u16 the length
// of its contents, the contents. A record that is cut short ends the image.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "persistent-data/format.h"

namespace dmcache::fuzz {

inline constexpr std::uint16_t max_blocks = 2048;

// What gives a block its checksum and number when an image is made of it, so that a mutated one
// gets past the validators.
enum class sealing : std::uint8_t { none, superblock, btree_node, array, index, bitmap };
inline constexpr std::uint8_t nr_sealings = 6;

struct record {
  sealing sealed_as;
  std::uint16_t block;
  std::vector<std::byte> contents; // at most metadata_block_size
};

struct sparse_image {
  std::uint16_t nr_blocks = 0;
  std::vector<record> records;
};

sparse_image decode(std::span<const std::byte> input);
std::vector<std::byte> encode(const sparse_image &image);

// The device's contents, every record sealed.
std::vector<std::byte> unpack(const sparse_image &image);
// The blocks of `device` that are not zero; each sealed as the type that its checksum tells.
sparse_image pack(std::span<const std::byte> device);

} // namespace dmcache::fuzz
