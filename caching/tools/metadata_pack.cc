#include "caching/tools/metadata_pack.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <future>
#include <new>
#include <optional>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "base/aligned_buffer.h"
#include "base/crc32c.h"
#include "base/worker_threads.h"
#include "caching/metadata/metadata_reader.h"
#include "persistent-data/block_stream.h"
#include "persistent-data/block_survey.h"

namespace dmcache {
namespace {

using raw_bytes = std::vector<std::byte>;

constexpr std::size_t packed_block_size = sizeof(le64) + metadata_block_size; // with its number

template <typename Object> std::span<const std::byte> bytes_of(const Object &object) {
  return std::as_bytes(std::span{&object, 1});
}

// Which blocks are in use, whatever state the metadata are in.
std::vector<metadata_block> used_blocks(device &from, const superblock &block, report &to) {
  damage_counter ignored;
  block_usage usage{from.size()};
  const walk_context context{from, usage, ignored, to.watcher()};
  metadata_visitor nobody;
  read_metadata(context, block, {.space_map = true}, nobody);
  std::vector<metadata_block> used;
  for (std::uint64_t each = 0; each < usage.nr_blocks(); ++each) {
    if (usage.is_used(each)) {
      used.emplace_back(each);
    }
  }
  return used;
}

bool is_valid(metadata_block where, block_view data) {
  constexpr std::array types{superblock_type, btree_node_type, array_block_type,
                             space_map_index_type, space_map_bitmap_type};
  return std::ranges::any_of(
      types, [&](const block_type &type) { return fault_of(type, where, data) == nullptr; });
}

// Of a call of zlib. That there is no memory says nothing of the data.
void require_memory(int outcome) {
  if (outcome == Z_MEM_ERROR) {
    throw std::bad_alloc{};
  }
}

// A chunk as it stands in the file.
raw_bytes compressed(std::uint32_t ordinal, std::uint32_t nr_blocks, const raw_bytes &payload) {
  uLongf size = compressBound(static_cast<uLong>(payload.size()));
  raw_bytes chunk(sizeof(pack_chunk_header) + size);
  if (nr_blocks != 0) {
    const int outcome = ::compress(
        reinterpret_cast<Bytef *>(chunk.data() + sizeof(pack_chunk_header)), &size, // NOLINT
        reinterpret_cast<const Bytef *>(payload.data()), // NOLINT: what zlib takes
        static_cast<uLong>(payload.size()));
    require_memory(outcome);
    require(outcome == Z_OK, "zlib has all the room it asked for");
  } else {
    size = 0;
  }
  chunk.resize(sizeof(pack_chunk_header) + size);
  pack_chunk_header header{.checksum = {},
                           .ordinal = ordinal,
                           .nr_blocks = nr_blocks,
                           .size = static_cast<std::uint32_t>(size)};
  std::memcpy(chunk.data(), &header, sizeof header);
  header.checksum = crc32c(std::span{chunk}.subspan(sizeof header.checksum));
  std::memcpy(chunk.data(), &header.checksum, sizeof header.checksum);
  return chunk;
}

// Gathers blocks and writes them chunk by chunk, compressed by all processors.
class pack_writer {
 public:
  explicit pack_writer(output_file &output)
      : output_{output}, nr_workers_{std::max(std::thread::hardware_concurrency(), 1U)} {}

  result<> begin(std::uint64_t device_blocks) {
    auto started = worker_threads::start(nr_workers_);
    if (!started) {
      return std::unexpected{started.error()};
    }
    workers_ = std::move(*started);
    pack_header header{.magic = pack_header::magic_value,
                       .checksum = {},
                       .version = pack_header::known_version,
                       .device_blocks = device_blocks};
    constexpr std::size_t summed_from = offsetof(pack_header, version);
    header.checksum = crc32c(bytes_of(header).subspan(summed_from));
    return write(bytes_of(header));
  }

  result<> add(metadata_block where, block_view data) {
    const le64 number = where.value();
    const auto raw_number = bytes_of(number);
    numbers_.insert(numbers_.end(), raw_number.begin(), raw_number.end());
    contents_.insert(contents_.end(), data.begin(), data.end());
    return contents_.size() == pack_chunk_header::blocks_per_chunk * metadata_block_size
               ? end_chunk()
               : result<>{};
  }

  result<> finish() {
    if (!contents_.empty()) {
      if (auto ended = end_chunk(); !ended) {
        return ended;
      }
    }
    while (!chunks_.empty()) {
      if (auto written = write_oldest(); !written) {
        return written;
      }
    }
    return write(compressed(nr_chunks_, 0, {}));
  }

 private:
  result<> end_chunk() {
    const auto nr_blocks = static_cast<std::uint32_t>(contents_.size() / metadata_block_size);
    raw_bytes payload = std::exchange(numbers_, {});
    payload.insert(payload.end(), contents_.begin(), contents_.end());
    contents_.clear();
    std::packaged_task<raw_bytes()> task{
        [ordinal = nr_chunks_++, nr_blocks, payload = std::move(payload)] {
          return compressed(ordinal, nr_blocks, payload);
        }};
    chunks_.push_back(task.get_future());
    workers_->add(std::move(task));
    return chunks_.size() > std::size_t{2} * nr_workers_ ? write_oldest() : result<>{};
  }

  result<> write_oldest() {
    const raw_bytes chunk = chunks_.front().get();
    chunks_.pop_front();
    return write(chunk);
  }

  result<> write(std::span<const std::byte> data) {
    const auto into = std::as_writable_bytes(output_.buffer());
    require(data.size() <= into.size(), "a chunk fits the buffer of a file");
    std::ranges::copy(data, into.begin());
    return output_.take(data.size());
  }

  output_file &output_;
  unsigned nr_workers_;
  raw_bytes numbers_;
  raw_bytes contents_;
  std::uint32_t nr_chunks_ = 0;
  std::deque<std::future<raw_bytes>> chunks_;
  std::unique_ptr<worker_threads> workers_; // from begin() on
};

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
    if (header.checksum != crc32c(bytes_of(header).subspan(offsetof(pack_header, version)))) {
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
    uLongf size = static_cast<uLongf>(payload_.size());
    const auto packed = std::span{chunk_}.subspan(sizeof header);
    const int outcome = ::uncompress(reinterpret_cast<Bytef *>(payload_.data()), &size, // NOLINT
                                     reinterpret_cast<const Bytef *>(packed.data()),    // NOLINT
                                     static_cast<uLong>(packed.size()));
    require_memory(outcome);
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

result<> write_block(device &to, metadata_block where, std::span<const std::byte> data) {
  aligned_buffer buffer{metadata_block_size};
  std::ranges::copy(data, buffer.span().begin());
  if (const auto failed =
          transfer_and_wait(to, io_request::operation::write, offset_of(where), buffer.span())) {
    return fail(failure::environment,
                fmt::format("cannot write block {}: {}", where, failed.message()));
  }
  return {};
}

} // namespace

result<std::uint64_t> pack(device &from, const pack_options &options, output_file &output,
                           report &to) {
  const std::uint64_t device_blocks =
      std::min(from.size().value() / metadata_block_size, max_metadata_blocks);
  std::vector<metadata_block> wanted;
  if (options.all_valid) {
    wanted = blocks_outside_holes(from);
  } else {
    const auto block = read_superblock(from);
    if (!block) {
      return fail(block.error().kind,
                  block.error().message + "; --all-valid packs what there is without it");
    }
    wanted = used_blocks(from, *block, to);
  }
  block_stream blocks{from, wanted.size(), [&](std::size_t at) { return wanted[at]; }};
  pack_writer writer{output};
  if (auto begun = writer.begin(device_blocks); !begun) {
    return std::unexpected{begun.error()};
  }
  to.watcher().begin("packing", wanted.size());
  std::uint64_t nr_unreadable = 0;
  while (const auto each = blocks.next()) {
    to.watcher().advance(1);
    if (each->error) {
      to.problem(fmt::format("block {}: cannot read it: {}: it is left out", each->where,
                             each->error.message()));
      ++nr_unreadable;
      continue;
    }
    if (!options.all_valid || each->where == superblock_location ||
        is_valid(each->where, each->data)) {
      if (auto added = writer.add(each->where, each->data); !added) {
        return std::unexpected{added.error()};
      }
    }
  }
  if (auto finished = writer.finish(); !finished) {
    return std::unexpected{finished.error()};
  }
  return nr_unreadable;
}

result<bytes> verify_pack(const open_text &open) {
  const auto device_blocks =
      read_pack(open, [](metadata_block, std::span<const std::byte>) { return result<>{}; });
  if (!device_blocks) {
    return std::unexpected{device_blocks.error()};
  }
  if (*device_blocks > max_metadata_blocks) {
    return broken("its device is larger than any for metadata");
  }
  return bytes{*device_blocks * metadata_block_size};
}

result<> unpack(const open_text &open, bytes size, device &to) {
  if (size > to.size()) {
    return fail(failure::failed,
                fmt::format("Output file too small: {} KiB are needed, and it has {}",
                            size.value() / 1024, to.size().value() / 1024));
  }
  if (auto wiped = wipe_superblock(to); !wiped) {
    return wiped;
  }
  std::optional<raw_bytes> first; // none if it couldn't be read when it was packed
  const auto written =
      read_pack(open, [&](metadata_block where, std::span<const std::byte> data) -> result<> {
        if (where == superblock_location) {
          first.emplace(data.begin(), data.end());
          return {};
        }
        return write_block(to, where, data);
      });
  if (!written) {
    return std::unexpected{written.error()};
  }
  auto failed = to.flush();
  if (!failed && first) {
    if (auto last = write_block(to, superblock_location, *first); !last) {
      return last;
    }
    failed = to.flush();
  }
  return failed ? fail(failure::environment,
                       fmt::format("cannot write the metadata: {}", failed.message()))
                : result<>{};
}

} // namespace dmcache
