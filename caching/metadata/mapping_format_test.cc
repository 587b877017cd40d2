#include "caching/metadata/mapping_format.h"

#include <gtest/gtest.h>

namespace dmcache {
namespace {

TEST(mapping_entry, stands_on_the_device_as_the_kernel_writes_it) {
  EXPECT_EQ(mapping_entry{}.encode(), 0U);
  EXPECT_EQ((mapping_entry{origin_block{5}, mapping_entry::valid}.encode()), 0x50001U);
  const mapping_entry dirty{origin_block{5}, mapping_entry::valid | mapping_entry::dirty};
  EXPECT_EQ(dirty.encode(), 0x50003U);
  const mapping_entry last{origin_block{mapping_entry::max_origin_block}, mapping_entry::valid};
  EXPECT_EQ(last.encode(), 0xffffffffffff0001U);
}

TEST(mapping_entry, is_decoded_as_it_was_encoded) {
  const auto entry = mapping_entry::decode(0xfedcba987654'0007U);
  EXPECT_EQ(entry.origin(), origin_block{0xfedcba987654U});
  EXPECT_EQ(entry.flags(), 7U);
  EXPECT_TRUE(entry.is_mapped());
  EXPECT_TRUE(entry.has_dirty_flag());
  EXPECT_EQ(entry.encode(), 0xfedcba987654'0007U);
  EXPECT_FALSE(mapping_entry::decode(0x50002U).is_mapped());
  EXPECT_FALSE(mapping_entry::decode(0x50001U).has_dirty_flag());
}

} // namespace
} // namespace dmcache
