#include "caching/tools/metadata_pack.h"

#include <gtest/gtest.h>

#include "base/memory_device.h"
#include "base/testing/faulty_device.h"
#include "base/testing/matchers.h"
#include "caching/metadata/testing/metadata_image.h"
#include "caching/tools/testing/packed_file.h"

namespace dmcache {
namespace {

class metadata_pack_test : public testing::Test {
 protected:
  metadata_pack_test() { stored_.write(); }

  packed_file file_{"metadata_pack_test"};
  metadata_image stored_{2};
};

TEST_F(metadata_pack_test, says_how_many_blocks_it_could_not_read_and_packs_the_rest) {
  for (const bool all_valid : {false, true}) {
    faulty_device from{stored_.image.device};
    constexpr std::uint64_t bad = metadata_image::discard_root;
    from.fail_reads(offset_of(metadata_block{bad}), offset_of(metadata_block{bad + 1}));
    const auto nr_unreadable = file_.pack(from, {.all_valid = all_valid});
    ASSERT_THAT(nr_unreadable, succeeds());
    EXPECT_EQ(*nr_unreadable, 1U);
    memory_device to{from.size()};
    ASSERT_THAT(file_.unpack(to), succeeds());
    const auto block = read_superblock(to);
    ASSERT_THAT(block, succeeds());
    EXPECT_EQ(block->mapping_root, metadata_image::mapping_root);
  }
}

} // namespace
} // namespace dmcache
