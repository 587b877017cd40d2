// Block 0 of the metadata device. persistent-data/format.md: "Superblock", "Meaning of the flags".
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/device.h"
#include "base/result.h"
#include "persistent-data/format.h"
#include "persistent-data/validator.h"

namespace dmcache {

class transaction_manager;

inline constexpr block_type superblock_type{9031977, 8};

struct superblock {
  static constexpr std::uint64_t magic_value = 06142003;
  static constexpr std::uint32_t clean_shutdown = 1;
  static constexpr std::uint32_t needs_check = 2;

  le32 checksum;
  le32 flags;
  le64 block_number;
  std::array<std::byte, 16> uuid;
  le64 magic;
  le32 version;
  std::array<char, 16> policy_name; // NUL-padded
  le32 policy_hint_size;            // bytes
  space_map_root space_map;
  std::array<std::byte, 128 - sizeof(space_map_root)> space_map_padding;
  le64 mapping_root;
  le64 hint_root; // 0: never written
  le64 discard_root;
  le64 discard_block_size; // sectors
  le64 discard_nr_blocks;
  le32 data_block_size;     // sectors
  le32 metadata_block_size; // sectors
  le32 cache_blocks;
  le32 compat_flags;
  le32 compat_ro_flags;
  le32 incompat_flags;
  le32 read_hits;
  le32 read_misses;
  le32 write_hits;
  le32 write_misses;
  std::array<le32, 3> policy_version; // major, minor, patch
  le64 dirty_root;                    // version 2 only
  std::array<std::byte, 3804> padding;

  // Does this version keep what is dirty in a bitset beside the mappings, rather than in them?
  bool has_dirty_bitset() const { return version != 1; }
  bool is_clean() const { return (flags & clean_shutdown) != 0; }
  bool is_needs_check() const { return (flags & needs_check) != 0; }
  std::string_view policy() const;

  // Do the discard fields tell the origin's size? Only a clean shutdown writes them.
  bool knows_origin_size() const;
  // An upper bound of the origin's size, in blocks of data_block_size. Requires
  // knows_origin_size().
  std::uint64_t max_origin_blocks() const;
};
static_assert(sizeof(superblock) == metadata_block_size);
static_assert(offsetof(superblock, block_number) == superblock_type.number_offset);
static_assert(offsetof(superblock, magic) == 32);
static_assert(offsetof(superblock, policy_name) == 44);
static_assert(offsetof(superblock, space_map) == 64);
static_assert(offsetof(superblock, mapping_root) == 192);
static_assert(offsetof(superblock, data_block_size) == 232);
static_assert(offsetof(superblock, read_hits) == 256);
static_assert(offsetof(superblock, dirty_root) == 284);
static_assert(offsetof(superblock, padding) == 292);

inline constexpr std::uint32_t min_data_block_size = 64;      // sectors: 32 KiB
inline constexpr std::uint32_t max_data_block_size = 2097152; // sectors: 1 GiB

// Does the kernel accept this size, in sectors, for cache blocks?
constexpr bool is_legal_data_block_size(std::uint64_t size) {
  return size >= min_data_block_size && size <= max_data_block_size &&
         size % min_data_block_size == 0;
}

// Does a file that begins with these bytes, where the superblock should be, hold an XML document
// instead, which was meant for cache_restore?
bool looks_like_xml(std::span<const std::byte> data);

// Is a device that begins with this block, or less than one, not in use for anything but a cache's
// metadata: is it all zero, or metadata, be they sound, damaged or incomplete?
bool is_unused_or_metadata(std::span<const std::byte> first_block);

// Can a policy be called so: nothing, or letters, digits, '-' and '_'?
bool is_policy_name(std::string_view name);

// Is block 0 all zero, as on a device that is not formatted yet? False if there is no block 0.
result<bool> holds_nothing(device &from);

// Reads block 0 and verifies that it is the superblock of a cache that this program understands:
// checksum, number, magic, version, incompatible features.
result<superblock> read_superblock(device &from);

// Begins to change the metadata whose superblock was found to be this one, which is made durable
// first: if its writer was stopped before the last flush, or that flush failed, a power cut could
// still bring back an older one, whose blocks are those that transactions take for free.
result<std::unique_ptr<transaction_manager>> begin_changes(device &of, const superblock &found);

// Makes what was written before durable; then seals `block`, writes it as the superblock, and makes
// that durable, too.
result<> commit_superblock(device &to, const superblock &block);

// Durably makes `to` hold no metadata, but something in their place that keeps the kernel from
// formatting the device.
result<> wipe_superblock(device &to);

// What else is wrong with a superblock that read_superblock() believed: a text for each fault.
std::vector<std::string> faults_of(const superblock &block);

// Clears what `block` says of its policy that can't be believed.
void mend_policy(superblock &block);

// The version that the policy of this name has, ours or the kernel's; all zero if the name is empty
// or unknown.
std::array<std::uint32_t, 3> own_version_of_policy(std::string_view name);

} // namespace dmcache
