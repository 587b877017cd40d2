#include "caching/metadata/superblock.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <string_view>

#include <fmt/format.h>

#include "base/aligned_buffer.h"
#include "base/zeroes.h"
#include "persistent-data/transaction_manager.h"

namespace dmcache {
namespace {

std::unexpected<error> damaged(std::string fault) {
  return fail(failure::failed, std::move(fault));
}

result<> read_first_block(device &from, std::span<std::byte> data) {
  if (const auto failed = transfer_and_wait(from, io_request::operation::read,
                                            offset_of(superblock_location), data)) {
    return fail(failure::environment,
                fmt::format("block 0: cannot read the superblock: {}", failed.message()));
  }
  return {};
}

// Stands in block 0 while the rest is being written. All zeroes would tell the kernel to format the
// device, and an empty cache then takes the place of one whose dirty blocks matter.
constexpr std::string_view incomplete_mark =
    "dmcache: the metadata on this device are incomplete\n";

bool is_incomplete(std::span<const std::byte> block) {
  return block.size() >= incomplete_mark.size() &&
         std::ranges::equal(std::as_bytes(std::span{incomplete_mark}),
                            block.first(incomplete_mark.size()));
}

// Metadata of other targets, whose superblocks have the magic number in the same place.
// drivers/md/dm-thin-metadata.c, dm-era-target.c: SUPERBLOCK_MAGIC.
struct other_target {
  std::uint64_t magic;
  const char *owner;
  const char *tool;
};
constexpr std::array other_targets{other_target{27022010, "a thin pool", "thin_check"},
                                   other_target{2126579579, "an era device", "era_check"}};

std::unexpected<error> no_superblock(const superblock &found) {
  const auto *other =
      std::ranges::find(other_targets, std::uint64_t{found.magic}, &other_target::magic);
  return damaged(other == other_targets.end()
                     ? "block 0: bad checksum in superblock, and no magic number: is this the "
                       "metadata device of a cache?"
                     : fmt::format("block 0: this is the metadata of {}, not of a cache: see {}",
                                   other->owner, other->tool));
}

// A superblock of zeroes invites the kernel to make a new cache, where the old one's blocks may still
// stand. Of these, the first one that is known to be metadata.
std::optional<metadata_block> first_left_over(device &from) {
  constexpr std::uint64_t looked_at = 64; // blocks; those that are made first are never far away
  aligned_buffer buffer{metadata_block_size};
  const std::uint64_t end = std::min(from.size().value() / metadata_block_size, looked_at);
  for (metadata_block at = superblock_location + 1; at.value() < end; ++at) {
    if (transfer_and_wait(from, io_request::operation::read, offset_of(at), buffer.span())) {
      continue;
    }
    const block_view block{buffer.span()};
    for (const block_type &type :
         {btree_node_type, array_block_type, space_map_index_type, space_map_bitmap_type}) {
      if (fault_of(type, at, block) == nullptr) {
        return at;
      }
    }
  }
  return {};
}

std::unexpected<error> superblock_of_zeroes(device &from) {
  const auto left_over = first_left_over(from);
  return damaged(
      left_over
          ? fmt::format("block 0: superblock is all zeroes, but block {} holds metadata: don't "
                        "activate the cache, the kernel would make it a new one; "
                        "cache_repair finds what is left",
                        *left_over)
          : "block 0: superblock is all zeroes: this device holds no cache metadata yet");
}

result<> write_first_block(device &to, std::span<std::byte> data) {
  auto failed =
      transfer_and_wait(to, io_request::operation::write, offset_of(superblock_location), data);
  failed = failed ? failed : to.flush();
  if (failed) {
    return fail(failure::environment,
                fmt::format("block 0: cannot write the superblock: {}", failed.message()));
  }
  return {};
}

} // namespace

bool is_policy_name(std::string_view name) {
  return std::ranges::all_of(
      name, [](unsigned char c) { return std::isalnum(c) != 0 || c == '-' || c == '_'; });
}

bool looks_like_xml(std::span<const std::byte> data) {
  const std::string_view text{reinterpret_cast<const char *>(data.data()), data.size()}; // NOLINT
  const auto tag = text.find_first_not_of(" \t\r\n");
  // A checksum can look like the start of a tag, but no superblock is without zero bytes.
  return tag != std::string_view::npos && text.find('\0') == std::string_view::npos &&
         tag + 1 < text.size() && text[tag] == '<' &&
         (std::isalpha(static_cast<unsigned char>(text[tag + 1])) != 0 || text[tag + 1] == '?' ||
          text[tag + 1] == '!');
}

bool is_unused_or_metadata(std::span<const std::byte> first_block) {
  if (is_all_zero(first_block) || is_incomplete(first_block)) {
    return true;
  }
  superblock found;
  if (first_block.size() < sizeof found) {
    return false;
  }
  std::memcpy(&found, first_block.data(), sizeof found);
  return found.magic == superblock::magic_value;
}

bool superblock::knows_origin_size() const {
  return is_clean() && discard_block_size != 0 && data_block_size != 0;
}

std::uint64_t superblock::max_origin_blocks() const {
  std::uint64_t size = 0; // sectors
  if (__builtin_mul_overflow(std::uint64_t{discard_nr_blocks}, std::uint64_t{discard_block_size},
                             &size)) {
    return std::numeric_limits<std::uint64_t>::max();
  }
  return size / data_block_size;
}

std::string_view superblock::policy() const {
  return {policy_name.data(), ::strnlen(policy_name.data(), policy_name.size())};
}

result<bool> holds_nothing(device &from) {
  if (from.size().value() < metadata_block_size) {
    return false;
  }
  aligned_buffer buffer{metadata_block_size};
  if (auto read = read_first_block(from, buffer.span()); !read) {
    return std::unexpected{read.error()};
  }
  return is_all_zero(buffer.span());
}

result<superblock> read_superblock(device &from) {
  if (from.size().value() < metadata_block_size) {
    return damaged("Metadata device/file too small.  Is this binary metadata?");
  }
  aligned_buffer buffer{metadata_block_size};
  if (auto read = read_first_block(from, buffer.span()); !read) {
    return std::unexpected{read.error()};
  }
  const block_view block{buffer.span()};
  if (is_all_zero(block)) {
    return superblock_of_zeroes(from);
  }
  superblock found;
  std::memcpy(&found, block.data(), sizeof found);
  if (is_incomplete(block)) {
    return damaged("block 0: bad checksum in superblock: cache_restore, cache_repair or "
                   "cache_metadata_unpack to this device failed or was interrupted: run it again");
  }
  if (const char *fault = fault_of(superblock_type, superblock_location, block)) {
    return found.magic == superblock::magic_value
               ? damaged(fmt::format("block 0: {} in superblock", fault))
               : no_superblock(found);
  }
  if (found.magic != superblock::magic_value) {
    return damaged(fmt::format("block 0: superblock has magic number {:#x}, not {:#x} of a cache",
                               std::uint64_t{found.magic}, superblock::magic_value));
  }
  if (found.version != 1 && found.version != 2) {
    return damaged(fmt::format("block 0: superblock has version {}; 1 and 2 are known",
                               std::uint32_t{found.version}));
  }
  if (found.incompat_flags != 0) {
    return damaged(fmt::format("block 0: superblock has incompatible features {:#x} that this "
                               "version doesn't know: use a newer one",
                               std::uint32_t{found.incompat_flags}));
  }
  return found;
}

result<std::unique_ptr<transaction_manager>> begin_changes(device &of, const superblock &found) {
  if (const auto durable = commit_superblock(of, found); !durable) {
    return std::unexpected{durable.error()};
  }
  return transaction_manager::open(of, found.space_map);
}

result<> commit_superblock(device &to, const superblock &block) {
  if (const auto failed = to.flush()) {
    return fail(failure::environment,
                fmt::format("cannot write the metadata: {}", failed.message()));
  }
  aligned_buffer buffer{metadata_block_size};
  std::memcpy(buffer.span().data(), &block, sizeof block);
  seal(superblock_type, superblock_location, buffer.span().first<metadata_block_size>());
  return write_first_block(to, buffer.span());
}

result<> wipe_superblock(device &to) {
  aligned_buffer block{metadata_block_size};
  std::ranges::fill(block.span(), std::byte{});
  std::ranges::copy(std::as_bytes(std::span{incomplete_mark}), block.span().begin());
  return write_first_block(to, block.span());
}

std::vector<std::string> faults_of(const superblock &block) {
  std::vector<std::string> faults;
  const auto expect = [&](bool holds, std::string instead) {
    if (!holds) {
      faults.push_back("superblock has " + std::move(instead));
    }
  };
  const std::uint32_t unknown_flags =
      block.flags & ~(superblock::clean_shutdown | superblock::needs_check);
  expect(unknown_flags == 0, fmt::format("unknown flags {:#x}", unknown_flags));
  expect(block.metadata_block_size == metadata_block_size / sector_size,
         fmt::format("metadata block size {} sectors, where 8 is the only one",
                     std::uint32_t{block.metadata_block_size}));
  expect(is_legal_data_block_size(block.data_block_size),
         fmt::format("block size {} sectors, which is not a multiple of {} from {} to {}",
                     std::uint32_t{block.data_block_size}, min_data_block_size, min_data_block_size,
                     max_data_block_size));
  expect(
      block.policy_hint_size == 0 || block.policy_hint_size == sizeof(le32),
      fmt::format("hint size {} bytes, where a hint has 4", std::uint32_t{block.policy_hint_size}));
  expect(is_policy_name(block.policy()),
         "a policy name of other than letters, digits, '-' and '_'");
  expect((block.discard_block_size == 0) == (block.discard_nr_blocks == 0),
         fmt::format("{} discard blocks of {} sectors", std::uint64_t{block.discard_nr_blocks},
                     std::uint64_t{block.discard_block_size}));
  return faults;
}

void mend_policy(superblock &block) {
  if (!is_policy_name(block.policy())) {
    block.policy_name = {};
    block.policy_version = {};
    block.policy_hint_size = 0;
  }
  if (block.policy_hint_size != sizeof(le32)) {
    block.policy_hint_size = 0;
  }
}

std::array<std::uint32_t, 3> own_version_of_policy(std::string_view name) {
  if (name == "sift") {
    return {1, 0, 0};
  }
  for (const std::string_view known : {"smq", "mq", "cleaner", "default"}) {
    if (name == known) {
      return {2, 0, 0};
    }
  }
  return {0, 0, 0};
}

} // namespace dmcache
