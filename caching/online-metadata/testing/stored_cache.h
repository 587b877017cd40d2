// A cache that was shut down, for tests of what opening its metadata makes of them.
#pragma once

#include <functional>
#include <string>

#include "caching/online-metadata/testing/metadata_session.h"

namespace dmcache {

inline online_metadata::open_options read_only(online_metadata::open_options options) {
  options.read_only = true;
  return options;
}

// Cleanly shut down: cache blocks 0, 10, 20, … of 1000 hold origin blocks 0, 20, 40, …; 500 and 990
// are dirty. Discard blocks 100 to 199 and 9999 are discarded, of the 10000 of the origin.
class stored_cache_test : public testing::TestWithParam<std::uint32_t> {
 protected:
  static constexpr std::uint64_t cache_blocks = 1000;
  static constexpr std::uint64_t origin_blocks = 10000;

  stored_cache_test() {
    auto options = devices(cache_blocks, origin_blocks);
    options.format_version = GetParam();
    metadata_session session{on_, options};
    for (std::uint64_t i = 0; i < cache_blocks; i += 10) {
      session.map(i, 2 * i);
    }
    session.mark_dirty(500);
    session.mark_dirty(990);
    session.opened.discards->set_within(sectors{100UL * 128}, sectors{200UL * 128});
    session.opened.discards->set(9999);
    before_ = session.mappings();
    EXPECT_EQ(session.shut_down(), 1U);
  }

  // Why it is refused, and leaves the device as it was.
  std::string refusal(const online_metadata::open_options &options) {
    const std::vector<std::byte> image{on_.contents().begin(), on_.contents().end()};
    const auto opened = online_metadata::open(on_, options);
    EXPECT_TRUE(std::ranges::equal(on_.contents(), image));
    return opened ? "opened" : opened.error().message;
  }

  void change_superblock(const std::function<void(superblock &)> &change) {
    auto block = read_superblock(on_);
    ASSERT_TRUE(block);
    change(*block);
    ASSERT_TRUE(commit_superblock(on_, *block));
  }

  void make_unclean() {
    change_superblock([](superblock &block) { block.flags = 0; });
  }

  void damage_block(std::uint64_t where) {
    on_.contents()[where * metadata_block_size + 1000] ^= std::byte{1};
  }

  // The block that the only entry of a tree of one node names.
  std::uint64_t only_part(std::uint64_t root) {
    le64 where;
    const std::size_t values = sizeof(btree_node_header) + btree_max_entries(8) * sizeof(le64);
    std::memcpy(&where, on_.contents().data() + root * metadata_block_size + values, sizeof where);
    return where;
  }

  superblock block() { return value(read_superblock(on_)); }
  static superblock value(const result<superblock> &of) { return *of; }

  memory_device on_{bytes{200 * metadata_block_size}};
  metadata_session::mapping_map before_;
};

} // namespace dmcache
