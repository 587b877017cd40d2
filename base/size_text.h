// Sizes as people, and the programs that they copy them from, write them: the one reader for all
// commands, for the plugin's parameters and for messages to a cache.
//
// The meaning of the units is LVM's, which nbdkit shares. Letters count in either case and are
// binary; "64.00k" and "64.00 KiB" are how LVM itself prints sizes. The names are those that
// thin-provisioning-tools have, in which "kilobyte" is decimal. "kB" is refused, since it is 1000
// bytes to some programs and 1024 to others. dmcache(8) has the table for users.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.h"
#include "base/units.h"

namespace dmcache {

// What becomes of a number without a unit. Where thin-provisioning-tools or the kernel take it as a
// number of sectors, so do we. Elsewhere some programs mean bytes and others sectors.
enum class bare_number : std::uint8_t { is_in_sectors, is_refused };

// Reads a size, which is a whole number of bytes. Fails with failure::usage.
result<bytes> parse_size(std::string_view text, bare_number bare);

// Reads one that is a whole number of sectors as well. `name`, as in "--block-size", is that of
// what is given; the text of the failure begins with it.
result<sectors> parse_sectors(std::string_view name, std::string_view text, bare_number bare);

// A unit in which a size is told.
struct size_unit {
  char letter;
  std::string_view name; // singular
  std::uint64_t in_bytes;
};

// Here, as in LVM's output, small letters are binary and capitals are decimal. Names are the same
// as in what is read. Null if there is no such unit.
const size_unit *find_unit_to_tell(std::string_view text);

} // namespace dmcache
