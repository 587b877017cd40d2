#include "functional-tests/fuzz/sparse_image.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "caching/metadata/superblock.h"
#include "persistent-data/validator.h"

namespace dmcache::fuzz {
namespace {

struct record_header {
  std::uint8_t sealed_as;
  le16 block;
  le16 length;
};
static_assert(sizeof(record_header) == 5);

const block_type *type_of(sealing how) {
  switch (how) {
  case sealing::none:
    break;
  case sealing::superblock:
    return &superblock_type;
  case sealing::btree_node:
    return &btree_node_type;
  case sealing::array:
    return &array_block_type;
  case sealing::index:
    return &space_map_index_type;
  case sealing::bitmap:
    return &space_map_bitmap_type;
  }
  return nullptr;
}

template <typename T> void append(std::vector<std::byte> &to, const T &value) {
  to.resize(to.size() + sizeof value);
  std::memcpy(to.data() + to.size() - sizeof value, &value, sizeof value);
}

} // namespace

sparse_image decode(std::span<const std::byte> input) {
  sparse_image image;
  le16 nr_blocks;
  if (input.size() < sizeof nr_blocks) {
    return image;
  }
  std::memcpy(&nr_blocks, input.data(), sizeof nr_blocks);
  image.nr_blocks = std::min<std::uint16_t>(nr_blocks, max_blocks);
  input = input.subspan(sizeof nr_blocks);
  record_header header;
  while (input.size() >= sizeof header) {
    std::memcpy(&header, input.data(), sizeof header);
    input = input.subspan(sizeof header);
    const std::size_t length =
        std::min({std::size_t{header.length}, input.size(), metadata_block_size});
    image.records.push_back({static_cast<sealing>(header.sealed_as % nr_sealings),
                             header.block,
                             {input.begin(), input.begin() + static_cast<std::ptrdiff_t>(length)}});
    input = input.subspan(length);
  }
  return image;
}

std::vector<std::byte> encode(const sparse_image &image) {
  std::vector<std::byte> input;
  append(input, le16{image.nr_blocks});
  for (const record &each : image.records) {
    append(input, record_header{static_cast<std::uint8_t>(each.sealed_as), each.block,
                                static_cast<std::uint16_t>(each.contents.size())});
    input.resize(input.size() + each.contents.size());
    std::ranges::copy(each.contents,
                      input.end() - static_cast<std::ptrdiff_t>(each.contents.size()));
  }
  return input;
}

std::vector<std::byte> unpack(const sparse_image &image) {
  std::vector<std::byte> device(image.nr_blocks * metadata_block_size);
  for (const record &each : image.records) {
    if (each.block >= image.nr_blocks) {
      continue;
    }
    const auto block =
        std::span{device}.subspan(each.block * metadata_block_size).first<metadata_block_size>();
    std::ranges::fill(block, std::byte{0});
    std::ranges::copy(each.contents, block.begin());
    if (const block_type *type = type_of(each.sealed_as)) {
      seal(*type, metadata_block{each.block}, block);
    }
  }
  return device;
}

sparse_image pack(std::span<const std::byte> device) {
  sparse_image image;
  image.nr_blocks = static_cast<std::uint16_t>(
      std::min<std::size_t>(device.size() / metadata_block_size, max_blocks));
  for (std::uint16_t i = 0; i < image.nr_blocks; ++i) {
    const auto block = device.subspan(i * metadata_block_size).first<metadata_block_size>();
    const auto last = std::find_if(block.rbegin(), block.rend(),
                                   [](std::byte each) { return each != std::byte{0}; });
    if (last == block.rend()) {
      continue;
    }
    record packed{sealing::none, i, {block.begin(), last.base()}};
    for (std::uint8_t how = 1; how < nr_sealings; ++how) {
      const auto *type = type_of(static_cast<sealing>(how));
      if (fault_of(*type, metadata_block{i}, block) == nullptr) {
        packed.sealed_as = static_cast<sealing>(how);
      }
    }
    image.records.push_back(std::move(packed));
  }
  return image;
}

} // namespace dmcache::fuzz
