// Is a block what it says it is? The same validator seals what is written and verifies what is
// read.
#pragma once

#include <cstddef>
#include <span>

#include "persistent-data/format.h"

namespace dmcache {

using block_view = std::span<const std::byte, metadata_block_size>;

// What is wrong with `block`, which was read from `where`, for the user to read; null if it has the
// checksum of its type and its own number.
const char *fault_of(const block_type &type, metadata_block where, block_view block);

// Sets number and checksum of `block`, which is about to be written to `where`.
void seal(const block_type &type, metadata_block where,
          std::span<std::byte, metadata_block_size> block);

} // namespace dmcache
