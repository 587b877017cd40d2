#include "caching/tools/mended_tree.h"

#include <gtest/gtest.h>

#include "base/testing/matchers.h"
#include "caching/metadata/cache_contents.h"
#include "caching/metadata/testing/described_cache.h"
#include "persistent-data/btree_walk.h"
#include "persistent-data/testing/image_builder.h"

namespace dmcache {
namespace {

// A cache whose two array blocks of mappings are told apart by their sizes, though their root is lost.
class mended_tree_test : public testing::Test {
 protected:
  mended_tree_test() {
    cache_contents contents{block_};
    EXPECT_FALSE(contents.add({cache_block{0}, origin_block{50}, false}));
    EXPECT_FALSE(contents.add({cache_block{block_.cache_blocks - 1}, origin_block{51}, false}));
    EXPECT_THAT(contents.write(image_.device, image_.watcher), succeeds());
    block_ = read_superblock(image_.device).value();
    const std::uint64_t root = block_.mapping_root;
    parts_ = read_leaf(metadata_block{root}, image_.block(root));
    image_.block(root)[0] ^= std::byte{1};
  }

  image_builder image_{32};
  superblock block_ = described_cache(1, array_max_entries(sizeof(le64)) + 100);
  std::vector<std::pair<std::uint64_t, std::uint64_t>> parts_; // with their blocks
};

TEST_F(mended_tree_test, leads_to_what_the_lost_one_led_to) {
  class counter final : public metadata_visitor {
   public:
    void mappings(std::span<const mapping> some) override { nr_mapped += some.size(); }
    std::size_t nr_mapped = 0;
  };
  report quiet{"test", true};
  mended_tree tree{image_.device, block_, quiet};
  counter found;
  tree.read(image_.sink, {}, found);
  EXPECT_EQ(image_.sink.text(), "");
  EXPECT_EQ(found.nr_mapped, 2U);
}

TEST_F(mended_tree_test, damage_of_what_it_leads_to_is_told_where_it_is) {
  ASSERT_EQ(parts_.size(), 2U);
  const std::uint64_t damaged = parts_.front().second;
  image_.set(damaged, sizeof(array_block_header) + sizeof(le64), le64{4}); // of cache block 1
  image_.seal_block(array_block_type, damaged);
  report quiet{"test", true};
  mended_tree tree{image_.device, block_, quiet};
  metadata_visitor nobody;
  tree.read(image_.sink, {}, nobody);
  ASSERT_EQ(image_.sink.all.size(), 1U);
  EXPECT_EQ(image_.sink.all.front().block.value(), damaged);
}

} // namespace
} // namespace dmcache
