// Who uses which block of the metadata device: what makes cycles and shared blocks visible, and
// what the space map is compared with.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "persistent-data/damage.h"
#include "persistent-data/format.h"

namespace dmcache {

class block_usage {
 public:
  // Covers a device of this size, up to the max_metadata_blocks that the format can use. It takes a
  // byte of memory for each block.
  explicit block_usage(bytes size);

  std::uint64_t nr_blocks() const { return users_.size(); }

  // Takes `block` for `user`, and returns nothing; or, if it lies beyond the device or is in use
  // already, returns a text that says so.
  std::optional<std::string> claim(metadata_block block, structure user);

  bool is_used(std::uint64_t block) const { return users_[block] != unused; }

  bool is_used_by(std::uint64_t block, structure user) const {
    return users_[block] == static_cast<std::uint8_t>(user);
  }

  // The first of `count` blocks in a row, below `limit`, that nothing uses.
  std::optional<metadata_block> find_unused(std::uint64_t limit, std::uint64_t count) const;

  // Something below a damaged block could not be followed: more may be in use than is known here.
  void forget_completeness() { complete_ = false; }
  bool is_complete() const { return complete_; }

 private:
  static constexpr std::uint8_t unused = 0xff;

  std::vector<std::uint8_t> users_; // a structure, or unused
  bool complete_ = true;
};

} // namespace dmcache
