#include "caching/tools/metadata_unpack.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <optional>
#include <set>

#include <fmt/format.h>

#include "base/aligned_buffer.h"
#include "base/crc32c.h"
#include "base/patched_device.h"
#include "caching/metadata/metadata_reader.h"
#include "caching/metadata/standing_metadata.h"
#include "caching/tools/metadata_pack.h"
#include "persistent-data/block_survey.h"

namespace dmcache {
namespace {

using raw_bytes = std::vector<std::byte>;

constexpr std::size_t packed_block_size = sizeof(le64) + metadata_block_size; // with its number

std::unexpected<error> broken(std::string_view fault) {
  return fail(failure::failed, fmt::format("this is no whole pack of metadata: {}", fault));
}

// Reads a pack and verifies all of it on the way.
class pack_reader {
 public:
  explicit pack_reader(read_text text) : text_{std::move(text)} {}

  result<std::uint64_t> begin() {
    pack_header header;
    if (auto got = read(std::as_writable_bytes(std::span{&header, 1})); !got) {
      return std::unexpected{got.error()};
    }
    if (header.magic != pack_header::magic_value) {
      return broken("it doesn't begin like one");
    }
    if (header.checksum !=
        crc32c(std::as_bytes(std::span{&header, 1}).subspan(offsetof(pack_header, version)))) {
      return broken("bad checksum in its header");
    }
    if (header.version != pack_header::known_version) {
      return fail(failure::failed,
                  fmt::format("this pack has version {}, and 1 is known: use a newer program",
                              std::uint32_t{header.version}));
    }
    end_ = header.device_blocks;
    return end_;
  }

  // The next chunk's blocks, or none at the end.
  result<std::uint32_t> next() {
    chunk_.resize(sizeof(pack_chunk_header));
    if (auto got = read(chunk_); !got) {
      return std::unexpected{got.error()};
    }
    pack_chunk_header header;
    std::memcpy(&header, chunk_.data(), sizeof header);
    const std::size_t largest = pack_chunk_header::blocks_per_chunk * packed_block_size;
    if (header.nr_blocks > pack_chunk_header::blocks_per_chunk ||
        header.size > compressBound(static_cast<uLong>(largest))) {
      return broken(fmt::format("chunk {} is too large", ordinal_));
    }
    chunk_.resize(sizeof header + header.size);
    if (auto got = read(std::span{chunk_}.subspan(sizeof header)); !got) {
      return std::unexpected{got.error()};
    }
    if (header.checksum != crc32c(std::span{chunk_}.subspan(sizeof header.checksum)) ||
        header.ordinal != ordinal_) {
      return broken(fmt::format("bad checksum in chunk {}", ordinal_));
    }
    ++ordinal_;
    return header.nr_blocks == 0 ? expect_end() : inflate(header);
  }

  metadata_block where(std::uint32_t index) const {
    le64 number;
    std::memcpy(&number, payload_.data() + index * sizeof number, sizeof number);
    return metadata_block{number};
  }
  std::span<const std::byte> data(std::uint32_t index) const {
    const std::size_t first = payload_.size() / packed_block_size * sizeof(le64);
    return std::span{payload_}.subspan(first + index * metadata_block_size, metadata_block_size);
  }

 private:
  result<> read(std::span<std::byte> into) {
    while (!into.empty()) {
      const auto count =
          text_({reinterpret_cast<char *>(into.data()), into.size()}); // NOLINT: bytes of a file
      if (!count) {
        return std::unexpected{count.error()};
      }
      if (*count == 0) {
        return broken("it ends too early");
      }
      into = into.subspan(*count);
    }
    return {};
  }

  result<std::uint32_t> expect_end() {
    char more = 0;
    const auto count = text_({&more, 1});
    if (!count) {
      return std::unexpected{count.error()};
    }
    return *count == 0 ? result<std::uint32_t>{0} : broken("something follows its end");
  }

  result<std::uint32_t> inflate(const pack_chunk_header &header) {
    payload_.resize(header.nr_blocks * packed_block_size);
    auto size = static_cast<uLongf>(payload_.size());
    const auto packed = std::span{chunk_}.subspan(sizeof header);
    const int outcome = ::uncompress(reinterpret_cast<Bytef *>(payload_.data()), &size, // NOLINT
                                     reinterpret_cast<const Bytef *>(packed.data()),    // NOLINT
                                     static_cast<uLong>(packed.size()));
    if (outcome == Z_MEM_ERROR) { // which says nothing of the data
      throw std::bad_alloc{};
    }
    if (outcome != Z_OK || size != payload_.size()) {
      return broken(fmt::format("chunk {} can't be decompressed", ordinal_ - 1));
    }
    for (std::uint32_t i = 0; i < header.nr_blocks; ++i) {
      const std::uint64_t number = where(i).value();
      if (number < begin_ || number >= end_) {
        return broken(fmt::format("block {} is out of order", number));
      }
      begin_ = number + 1;
    }
    return std::uint32_t{header.nr_blocks};
  }

  read_text text_;
  std::uint32_t ordinal_ = 0;
  std::uint64_t begin_ = 0; // the lowest block that can follow
  std::uint64_t end_ = 0;   // of the device
  raw_bytes chunk_;
  raw_bytes payload_;
};

// Hands each block of a pack to `take`, and returns how many blocks its device had.
template <typename Take> result<std::uint64_t> read_pack(const open_text &open, Take take) {
  auto text = open();
  if (!text) {
    return std::unexpected{text.error()};
  }
  pack_reader reader{std::move(*text)};
  const auto device_blocks = reader.begin();
  while (device_blocks) {
    const auto count = reader.next();
    if (!count) {
      return std::unexpected{count.error()};
    }
    if (*count == 0) {
      break;
    }
    for (std::uint32_t i = 0; i < *count; ++i) {
      if (auto taken = take(reader.where(i), reader.data(i)); !taken) {
        return std::unexpected{taken.error()};
      }
    }
  }
  return device_blocks;
}

// Writes a pack that was verified.
class unpacking {
 public:
  unpacking(const open_text &open, const verified_pack &pack, device &to, progress &watcher)
      : open_{open}, pack_{pack}, to_{to}, watcher_{watcher} {}

  result<> run() {
    auto old = blocks_in_force(to_, watcher_);
    if (!old) {
      return std::unexpected{old.error()};
    }
    old_ = std::move(*old);
    in_force_ = old_.has_value();
    auto done = in_force_ ? result<>{} : give_up();
    done = done ? write_blocks() : done;
    done = done && !is_whole() ? forget_others() : done;
    done = done ? flush() : done;
    if (!done) {
      return fail(done.error().kind,
                  done.error().message + (in_force_ ? ": the output still holds what it held"
                                                    : ": the output holds none"));
    }
    if (!first_) {
      return {};
    }
    done = write(superblock_location, *first_);
    return done ? flush() : done;
  }

 private:
  // The metadata that stand there count no more.
  result<> give_up() {
    in_force_ = false;
    return wipe_superblock(to_);
  }

  // Writes what the old metadata don't use first, and gives them up if that isn't all.
  result<> write_blocks() {
    bool is_in_the_way = false;
    auto done = for_each([&](metadata_block where, block_view data) -> result<> {
      if (!is_in_use(where)) {
        return write(where, data);
      }
      is_in_the_way = is_in_the_way || !holds(where, data);
      return {};
    });
    done = done && is_in_the_way ? give_up() : done;
    return done && is_in_the_way ? for_each([&](metadata_block where, block_view data) {
      return is_in_use(where) ? write(where, data) : result<>{};
    })
                                 : done;
  }

  bool is_in_use(metadata_block block) const { return old_ && old_->is_used(block.value()); }

  // Hands each block of the pack but the superblock to `take`.
  template <typename Take> result<> for_each(Take take) {
    const auto read =
        read_pack(open_, [&](metadata_block where, std::span<const std::byte> data) -> result<> {
          if (where == superblock_location) {
            first_.emplace(data.begin(), data.end());
            return {};
          }
          return take(where, data.first<metadata_block_size>());
        });
    return read ? result<>{} : result<>{std::unexpected{read.error()}};
  }

  // Are all blocks that the new superblock leads to from the pack?
  bool is_whole() {
    if (!first_) {
      return false;
    }
    patched_device with_superblock{to_, offset_of(superblock_location), bytes{metadata_block_size}};
    std::ranges::copy(*first_, buffer_.span().begin());
    if (transfer_and_wait(with_superblock, io_request::operation::write,
                          offset_of(superblock_location), buffer_.span())) {
      return false;
    }
    const auto block = read_superblock(with_superblock);
    if (!block) {
      return false;
    }
    damage_counter damage;
    metadata_visitor nobody;
    block_usage usage{to_.size()};
    read_metadata({with_superblock, usage, damage, watcher_}, *block, {.space_map = true}, nobody);
    bool all_packed = damage.nr_found() == 0;
    for (std::uint64_t each = 0; each < usage.nr_blocks(); ++each) {
      all_packed = all_packed && (!usage.is_used(each) || is_packed(each));
    }
    return all_packed;
  }

  // What stood here before must not be found in place of what the pack lacks.
  result<> forget_others() {
    if (in_force_) {
      if (auto given_up = give_up(); !given_up) {
        return given_up;
      }
    }
    const raw_bytes zeroes(metadata_block_size);
    std::set<std::uint64_t> unreadable; // there may be anything
    const block_survey survey = survey_blocks(
        to_, watcher_, [&](metadata_block where, auto) { unreadable.insert(where.value()); });
    for (std::uint64_t each = superblock_location.value() + 1; each < survey.size(); ++each) {
      const bool is_other = survey[each].kind != block_kind::unknown || unreadable.contains(each);
      if (!is_other || is_packed(each)) {
        continue;
      }
      if (auto written = write(metadata_block{each}, zeroes); !written) {
        return written;
      }
    }
    return {};
  }

  bool is_packed(std::uint64_t block) const {
    return block < pack_.holds.size() && pack_.holds[block];
  }

  // Does this stand there already?
  bool holds(metadata_block where, block_view data) {
    return !transfer_and_wait(to_, io_request::operation::read, offset_of(where), buffer_.span()) &&
           std::ranges::equal(buffer_.span(), data);
  }

  result<> write(metadata_block where, std::span<const std::byte> data) {
    std::ranges::copy(data, buffer_.span().begin());
    if (const auto failed = transfer_and_wait(to_, io_request::operation::write, offset_of(where),
                                              buffer_.span())) {
      return fail(failure::environment,
                  fmt::format("cannot write block {}: {}", where, failed.message()));
    }
    return {};
  }

  result<> flush() {
    if (const auto failed = to_.flush()) {
      return fail(failure::environment,
                  fmt::format("cannot write the metadata: {}", failed.message()));
    }
    return {};
  }

  const open_text &open_;
  const verified_pack &pack_;
  device &to_;
  progress &watcher_;
  std::optional<block_usage> old_; // by the metadata that stood there, if any did
  bool in_force_ = false;          // do these still count?
  std::optional<raw_bytes> first_; // the superblock, unless the pack has none
  aligned_buffer buffer_{metadata_block_size};
};

} // namespace

result<verified_pack> verify_pack(const open_text &open) {
  verified_pack pack;
  const auto too_large = [] { return broken("its device is larger than any for metadata"); };
  const auto device_blocks =
      read_pack(open, [&](metadata_block where, std::span<const std::byte>) -> result<> {
        if (where.value() >= max_metadata_blocks) {
          return too_large();
        }
        pack.holds.resize(where.value() + 1);
        pack.holds.back() = true;
        return {};
      });
  if (!device_blocks) {
    return std::unexpected{device_blocks.error()};
  }
  if (*device_blocks > max_metadata_blocks) {
    return too_large();
  }
  pack.size = bytes{*device_blocks * metadata_block_size};
  return pack;
}

result<> unpack(const open_text &open, const verified_pack &pack, device &to, progress &watcher) {
  if (pack.size > to.size()) {
    return fail(failure::failed,
                fmt::format("Output file too small: {} KiB are needed, and it has {}",
                            pack.size.value() / 1024, to.size().value() / 1024));
  }
  return unpacking{open, pack, to, watcher}.run();
}

} // namespace dmcache
