#include "caching/metadata/superblock_mend.h"

#include <cstring>
#include <random>

#include <gtest/gtest.h>

namespace dmcache {
namespace {

using raw = std::array<std::byte, metadata_block_size>;

raw sound_superblock() {
  superblock block{};
  block.magic = superblock::magic_value;
  block.version = 2;
  block.data_block_size = min_data_block_size;
  block.cache_blocks = 1000;
  raw bytes{};
  std::memcpy(bytes.data(), &block, sizeof block);
  seal(superblock_type, superblock_location, bytes);
  return bytes;
}

superblock parse(const raw &bytes) {
  superblock block;
  std::memcpy(&block, bytes.data(), sizeof block);
  return block;
}

TEST(superblock_mend_test, one_changed_byte_is_found_wherever_it_is) {
  const raw sound = sound_superblock();
  std::minstd_rand random{1};
  for (std::size_t at = 0; at < metadata_block_size; at += 1 + random() % 60) {
    raw damaged = sound;
    damaged[at] ^= static_cast<std::byte>(1 + random() % 255);
    const auto mended = mend_one_byte(parse(damaged));
    ASSERT_TRUE(mended) << at;
    EXPECT_EQ(std::memcmp(&*mended, sound.data(), sound.size()), 0) << at;
  }
}

TEST(superblock_mend_test, more_than_one_changed_byte_is_not_made_up_for) {
  for (std::size_t at = 4; at < metadata_block_size - 1; at += 97) {
    raw damaged = sound_superblock();
    damaged[at] ^= std::byte{1};
    damaged[at + 1] ^= std::byte{16};
    EXPECT_FALSE(mend_one_byte(parse(damaged))) << at;
  }
  EXPECT_FALSE(mend_one_byte(superblock{}));
}

TEST(superblock_mend_test, few_discard_blocks_are_as_large_as_the_cache_s) {
  superblock block = parse(sound_superblock());
  EXPECT_FALSE(is_block_size_confirmed(block));
  block.discard_nr_blocks = 1000;
  block.discard_block_size = min_data_block_size;
  EXPECT_TRUE(is_block_size_confirmed(block));
  block.discard_block_size = 2 * min_data_block_size;
  EXPECT_FALSE(is_block_size_confirmed(block));
  block.discard_block_size = min_data_block_size;
  block.discard_nr_blocks = max_discard_blocks;
  EXPECT_FALSE(is_block_size_confirmed(block));
}

} // namespace
} // namespace dmcache
