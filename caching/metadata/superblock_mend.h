// What a superblock that isn't valid any more still says.
#pragma once

#include <optional>

#include "caching/metadata/superblock.h"

namespace dmcache {

// The contents of block 0, whatever they are; nothing if it can't be read.
std::optional<superblock> read_first_block_as_is(device &from);

// If `block`, whose checksum is wrong, becomes a valid superblock by the change of a single byte,
// and by one such change only, returns that. Any other damage looks so once in 4000 times, so that
// what the result says must fit the device.
std::optional<superblock> mend_one_byte(const superblock &block);

// Are the fields that describe a cache such as a cache can have?
bool is_plausible(const superblock &block);

// Does the size of the discard blocks, which the kernel derives from it, confirm the block size?
// More than one block size would give the same if the discard blocks are larger.
bool is_block_size_confirmed(const superblock &block);

// The kernel doubles the size of discard blocks until the origin has no more than 2^14 of them,
// and perhaps the rest of one.
inline constexpr std::uint64_t max_discard_blocks = (1U << 14U) + 1;

// How many discard blocks the kernel divides an origin of this size into.
std::uint64_t nr_discard_blocks_of(sectors origin, sectors data_block_size);

} // namespace dmcache
