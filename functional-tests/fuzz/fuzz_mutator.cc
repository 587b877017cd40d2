// A mutator that knows records and fields, so that its inputs get past the validators and far into
// the structures.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>

#include "caching/metadata/mapping_format.h"
#include "functional-tests/fuzz/sparse_image.h"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t *data, std::size_t size, std::size_t max_size);
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t *data, std::size_t size,
                                               std::size_t max_size, unsigned seed);

namespace dmcache::fuzz {
namespace {

class mutator {
 public:
  mutator(sparse_image &image, unsigned seed) : image_{image}, random_{seed} {}

  void mutate() {
    if (image_.records.empty() || below(50) == 0) {
      image_.records.push_back({static_cast<sealing>(below(nr_sealings)), any_block(), {}});
    }
    record &chosen = image_.records[below(image_.records.size())];
    switch (below(8)) {
    case 0:
      change_bytes(chosen);
      break;
    case 1:
      duplicate(chosen);
      break;
    case 2:
      if (below(8) == 0) {
        chosen.sealed_as = static_cast<sealing>(below(nr_sealings));
      } else {
        chosen.block = any_block();
      }
      break;
    case 3:
      if (below(16) == 0) {
        image_.nr_blocks = static_cast<std::uint16_t>(below(max_blocks));
      }
      [[fallthrough]];
    default:
      change_field(chosen);
    }
  }

 private:
  std::size_t below(std::size_t limit) { return random_() % limit; }

  // The number of a block, mostly of one that is there.
  std::uint16_t any_block() {
    if (image_.records.empty() || below(8) == 0) {
      return static_cast<std::uint16_t>(below(max_blocks));
    }
    return image_.records[below(image_.records.size())].block;
  }

  void duplicate(const record &original) {
    record copy = original;
    copy.block = any_block();
    image_.records.push_back(std::move(copy));
  }

  void change_bytes(record &of) {
    const std::size_t size = of.contents.size();
    of.contents.resize(metadata_block_size);
    auto *data = reinterpret_cast<std::uint8_t *>(of.contents.data()); // NOLINT: libFuzzer's type
    of.contents.resize(LLVMFuzzerMutate(data, size, metadata_block_size));
  }

  // An aligned field, in the first ones more often: headers matter most.
  void change_field(record &of) {
    const std::size_t width = below(2) == 0 ? 4 : 8;
    const std::size_t slots = (below(2) == 0 ? 320 : metadata_block_size) / 4;
    const std::size_t offset = std::min(below(slots) * 4, metadata_block_size - width);
    if (of.contents.size() < offset + width) {
      of.contents.resize(offset + width);
    }
    const std::uint64_t value = any_value(of, offset);
    std::memcpy(of.contents.data() + offset, &value, width);
  }

  std::uint64_t any_value(const record &of, std::size_t offset) {
    std::uint32_t old = 0;
    std::memcpy(&old, of.contents.data() + offset, sizeof old);
    switch (below(7)) {
    case 0:
      return any_block();
    case 1:
      return old + below(5) - 2;
    case 2:
      return std::uint64_t{old} ^ std::uint64_t{1} << below(64);
    case 3:
      return below(1100);
    case 4:
      return std::numeric_limits<std::uint64_t>::max() >> below(64);
    case 5:
      return mapping_entry{origin_block{below(8192)}, below(4)}.encode();
    default:
      return 0;
    }
  }

  sparse_image &image_;
  std::mt19937 random_;
};

} // namespace
} // namespace dmcache::fuzz

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t *data, std::size_t size,
                                               std::size_t max_size, unsigned seed) {
  using namespace dmcache::fuzz;
  sparse_image image = decode(std::as_bytes(std::span{data, size}));
  mutator{image, seed}.mutate();
  const auto input = encode(image);
  if (input.size() > max_size) {
    return size;
  }
  std::memcpy(data, input.data(), input.size());
  return input.size();
}
