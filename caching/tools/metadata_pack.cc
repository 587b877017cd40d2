#include "caching/tools/metadata_pack.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <future>
#include <new>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "base/crc32c.h"
#include "base/worker_threads.h"
#include "caching/metadata/metadata_reader.h"
#include "persistent-data/block_stream.h"
#include "persistent-data/block_survey.h"

namespace dmcache {
namespace {

using raw_bytes = std::vector<std::byte>;

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

// A chunk as it stands in the file.
raw_bytes compressed(std::uint32_t ordinal, std::uint32_t nr_blocks, const raw_bytes &payload) {
  uLongf size = compressBound(static_cast<uLong>(payload.size()));
  raw_bytes chunk(sizeof(pack_chunk_header) + size);
  if (nr_blocks != 0) {
    const int outcome = ::compress(
        reinterpret_cast<Bytef *>(chunk.data() + sizeof(pack_chunk_header)), &size, // NOLINT
        reinterpret_cast<const Bytef *>(payload.data()), // NOLINT: what zlib takes
        static_cast<uLong>(payload.size()));
    if (outcome == Z_MEM_ERROR) {
      throw std::bad_alloc{};
    }
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

} // namespace dmcache
