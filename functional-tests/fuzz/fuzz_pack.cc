// What is fuzzed: cache_metadata_unpack on whatever pack an input says. One that verifies is
// unpacked, and then packed again holds the same blocks; one that doesn't costs no memory.
//
// Of the input, the first byte says how the pack is broken, the next eight are the number of the
// device's blocks. Chunks follow: u8 what is wrong with it, u8 the number of its blocks, u16 the
// size of its payload, the payload before it is compressed. Checksums are right unless an input
// wants them wrong, so that it gets past them.

#include <zlib.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "base/assert.h"
#include "base/crc32c.h"
#include "base/memory_device.h"
#include "caching/tools/metadata_pack.h"

namespace dmcache::fuzz {
namespace {

constexpr std::uint64_t most_blocks = 1024; // of a device that is made
constexpr std::size_t packed_block_size = sizeof(le64) + metadata_block_size;

enum fault : std::uint8_t { bad_magic = 1, bad_checksum = 2, bad_version = 4, cut = 8, more = 16 };
enum chunk_fault : std::uint8_t { raw = 1, bad_sum = 2, bad_ordinal = 4, stretched = 8, many = 16 };

// Takes fields off the front; zeroes follow the end.
class input_reader {
 public:
  explicit input_reader(std::span<const std::byte> input) : left_{input} {}

  bool is_at_end() const { return left_.empty(); }
  template <typename Number> Number number() {
    Number value = 0;
    const auto from = some(sizeof value);
    std::ranges::copy(from, std::as_writable_bytes(std::span{&value, 1}).begin());
    return value;
  }
  std::span<const std::byte> some(std::size_t size) {
    const auto taken = left_.first(std::min(size, left_.size()));
    left_ = left_.subspan(taken.size());
    return taken;
  }

 private:
  std::span<const std::byte> left_;
};

void append(std::vector<std::byte> &to, const void *from, std::size_t size) {
  if (size != 0) {
    to.resize(to.size() + size);
    std::memcpy(to.data() + to.size() - size, from, size);
  }
}

void append_chunk(std::vector<std::byte> &pack, input_reader &input, std::uint32_t ordinal) {
  const auto faults = input.number<std::uint8_t>();
  std::uint32_t nr_blocks = input.number<std::uint8_t>();
  const auto size = input.number<std::uint16_t>();
  std::vector<std::byte> payload;
  const auto given = input.some(size);
  append(payload, given.data(), given.size());
  if ((faults & stretched) != 0) {
    payload.resize(nr_blocks * packed_block_size);
  }
  if ((faults & raw) == 0 && nr_blocks != 0) {
    uLongf packed_size = compressBound(static_cast<uLong>(payload.size()));
    std::vector<std::byte> packed(packed_size);
    ::compress2(reinterpret_cast<Bytef *>(packed.data()), &packed_size, // NOLINT
                reinterpret_cast<const Bytef *>(payload.data()),        // NOLINT
                static_cast<uLong>(payload.size()), Z_BEST_SPEED);
    packed.resize(packed_size);
    payload = std::move(packed);
  }
  if ((faults & many) != 0) {
    nr_blocks <<= 24U;
  }
  pack_chunk_header header{.checksum = {},
                           .ordinal = (faults & bad_ordinal) != 0 ? ordinal + 1 : ordinal,
                           .nr_blocks = nr_blocks,
                           .size = static_cast<std::uint32_t>(payload.size())};
  std::vector<std::byte> chunk;
  append(chunk, &header, sizeof header);
  append(chunk, payload.data(), payload.size());
  header.checksum = crc32c(std::span{chunk}.subspan(sizeof header.checksum)) ^ (faults & bad_sum);
  std::memcpy(chunk.data(), &header.checksum, sizeof header.checksum);
  append(pack, chunk.data(), chunk.size());
}

std::vector<std::byte> pack_of(input_reader input) {
  const auto faults = input.number<std::uint8_t>();
  pack_header header{.magic = pack_header::magic_value,
                     .checksum = {},
                     .version = pack_header::known_version + ((faults & bad_version) != 0 ? 1 : 0),
                     .device_blocks = input.number<std::uint64_t>()};
  header.magic[3] ^= static_cast<char>(faults & bad_magic);
  constexpr std::size_t summed_from = offsetof(pack_header, version);
  header.checksum =
      crc32c(std::as_bytes(std::span{&header, 1}).subspan(summed_from)) ^ (faults & bad_checksum);
  std::vector<std::byte> pack;
  append(pack, &header, sizeof header);
  std::uint32_t ordinal = 0;
  while (!input.is_at_end()) {
    append_chunk(pack, input, ordinal++);
  }
  if ((faults & cut) != 0) {
    pack.pop_back();
  }
  if ((faults & more) != 0) {
    pack.push_back({});
  }
  return pack;
}

open_text text_of(const std::vector<std::byte> &pack) {
  return [&pack]() -> result<read_text> {
    return [left = std::span{pack}](std::span<char> into) mutable -> result<std::size_t> {
      const std::size_t count = std::min(left.size(), into.size());
      std::memcpy(into.data(), left.data(), count);
      left = left.subspan(count);
      return count;
    };
  };
}

void unpack(const std::vector<std::byte> &pack) {
  const open_text text = text_of(pack);
  const auto size = verify_pack(text);
  if (!size || size->value() > most_blocks * metadata_block_size) {
    return;
  }
  memory_device device{*size};
  const auto done = dmcache::unpack(text, *size, device);
  require(done.has_value() || size->value() == 0, "a pack that verifies is unpacked");
  if (*size > bytes{metadata_block_size}) {
    memory_device smaller{bytes{size->value() - metadata_block_size}};
    std::ranges::fill(smaller.contents(), std::byte{7});
    require(!dmcache::unpack(text, *size, smaller), "a device that is too small is refused");
    require(std::ranges::all_of(smaller.contents(),
                                [](std::byte each) { return each == std::byte{7}; }),
            "nothing is written to a device that is too small");
  }
}

} // namespace
} // namespace dmcache::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size); // NOLINT

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) { // NOLINT
  using namespace dmcache::fuzz;
  unpack(pack_of(input_reader{std::as_bytes(std::span{data, size})}));
  return 0;
}
