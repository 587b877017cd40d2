// Metadata with a single structure, for tests: block 0 has its root, and that of the space map.
#pragma once

#include <cstring>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/testing/matchers.h"
#include "persistent-data/array.h"
#include "persistent-data/array_reader.h"
#include "persistent-data/space_map_check.h"
#include "persistent-data/testing/image_builder.h"

namespace dmcache {

template <typename T> T value_of(result<T> from) {
  if (!from) {
    throw std::runtime_error{from.error().message};
  }
  return std::move(*from);
}

class memory_store {
 public:
  struct superblock {
    le32 checksum;
    le32 padding;
    le64 block_number;
    space_map_root space_map;
    le64 root;
    le64 size; // for the test's own use
  };
  static constexpr block_type superblock_type{271828, 8};

  // Opens what is on the device.
  explicit memory_store(device &on) : on_{on} {
    aligned_buffer block{metadata_block_size};
    EXPECT_THAT(transfer_and_wait(on, io_request::operation::read, bytes{0}, block.span()),
                succeeds());
    const block_view whole{block.span()};
    EXPECT_EQ(fault_of(superblock_type, superblock_location, whole), nullptr);
    std::memcpy(&super_, whole.data(), sizeof super_);
    transactions = value_of(transaction_manager::open(on, super_.space_map));
  }

  // Puts an empty tree onto it.
  static void format(device &on, std::size_t value_size) {
    memory_store made{on, value_of(transaction_manager::create(on))};
    const metadata_block root = value_of(btree{*made.transactions, value_size}.create());
    ASSERT_THAT(made.commit(root, 0), succeeds());
  }

  metadata_block root() const { return metadata_block{super_.root}; }
  std::uint64_t size() const { return super_.size; }
  const space_map_root &space_map() const { return super_.space_map; }

  result<> commit(metadata_block root, std::uint64_t size) {
    return transactions->commit(
        [&](const space_map_root &space_map) { return write_superblock(space_map, root, size); });
  }

  result<> write_superblock(const space_map_root &space_map, metadata_block root,
                            std::uint64_t size) {
    const superblock next{{}, {}, {}, space_map, root.value(), size};
    aligned_buffer block{metadata_block_size};
    std::ranges::fill(block.span(), std::byte{});
    std::memcpy(block.span().data(), &next, sizeof next);
    seal(superblock_type, superblock_location, block.span().first<metadata_block_size>());
    auto failed = on_.flush();
    failed = failed ? failed
                    : transfer_and_wait(on_, io_request::operation::write, bytes{0}, block.span());
    failed = failed ? failed : on_.flush();
    if (failed) {
      return fail(failure::environment, failed.message());
    }
    super_ = next;
    return {};
  }

  // What is in the tree on the device, after making sure that nothing is damaged or leaked there.
  btree_contents sound_tree(std::size_t value_size) {
    block_usage usage{on_.size()};
    collected_damage sink;
    const walk_context context{on_, usage, sink, watcher_};
    usage.claim(superblock_location, structure::superblock);
    btree_contents tree = walk_btree(context, description(value_size));
    check_space_map(context, super_.space_map);
    EXPECT_EQ(sink.text(), "");
    return tree;
  }

  // Does the same for an array.
  std::vector<std::uint64_t> sound_array(std::size_t value_size) {
    block_usage usage{on_.size()};
    collected_damage sink;
    const walk_context context{on_, usage, sink, watcher_};
    usage.claim(superblock_location, structure::superblock);
    array_reader reader{context,
                        {.root = root(),
                         .value_size = value_size,
                         .nr_entries = size(),
                         .kind = {structure::mappings, true},
                         .lost_limit = size()}};
    std::vector<std::uint64_t> entries;
    while (const auto leaf = reader.next()) {
      for (std::uint64_t i = 0; i < leaf->count; ++i) {
        le64 value{};
        std::memcpy(&value, leaf->values.data() + i * value_size, value_size);
        entries.push_back(value);
      }
    }
    check_space_map(context, super_.space_map);
    EXPECT_EQ(sink.text(), "");
    return entries;
  }

  std::unique_ptr<transaction_manager> transactions;

 private:
  memory_store(device &on, std::unique_ptr<transaction_manager> made)
      : transactions{std::move(made)}, on_{on} {}

  btree_description description(std::size_t value_size) const {
    return {.root = root(),
            .value_size = value_size,
            .key_limit = ~std::uint64_t{0},
            .kind = {structure::mappings, true},
            .lost_limit = ~std::uint64_t{0}};
  }

  device &on_;
  superblock super_{};
  progress watcher_{true};
};

} // namespace dmcache
