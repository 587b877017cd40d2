// cache_metadata_pack: metadata as a small file, to be sent to whoever can help. metadata_unpack.h
// makes them metadata again.
//
// A pack is a header, chunks of up to blocks_per_chunk metadata blocks, and an empty chunk at the
// end. Each has a checksum (CRC-32C), and a chunk its ordinal, so that nothing of it can be
// changed, lost or added unseen. A chunk's payload is compressed by zlib: the blocks' numbers
// (le64), which ascend through the whole pack, then their contents. All integers are little-endian.
#pragma once

#include <array>

#include "base/little_endian.h"
#include "base/output_file.h"
#include "base/report.h"
#include "persistent-data/format.h"

namespace dmcache {

struct pack_header {
  static constexpr std::array<char, 16> magic_value = {'d', 'm', 'c', 'a', 'c', 'h', 'e', ' ',
                                                       'm', 'e', 't', 'a', 'd', 'a', 't', 'a'};
  static constexpr std::uint32_t known_version = 1;

  std::array<char, 16> magic;
  le32 checksum; // of what follows
  le32 version;
  le64 device_blocks; // of the device that was packed
};
static_assert(sizeof(pack_header) == 32);

struct pack_chunk_header {
  static constexpr std::uint32_t blocks_per_chunk = 128;

  le32 checksum; // of what follows, with the payload
  le32 ordinal;
  le32 nr_blocks; // 0: the end
  le32 size;      // of the payload, bytes
};
static_assert(sizeof(pack_chunk_header) == 16);

struct pack_options {
  bool all_valid = false; // every block that validates, rather than those in use
};

// Packs what is in use on `from`, its superblock in any case. A block that can't be read is told to
// `to` and left out. Returns how many are.
result<std::uint64_t> pack(device &from, const pack_options &options, output_file &output,
                           report &to);

} // namespace dmcache
