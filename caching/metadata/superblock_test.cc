#include "caching/metadata/superblock.h"

#include <algorithm>
#include <string>

#include <gtest/gtest.h>

#include "base/testing/faulty_device.h"
#include "base/testing/matchers.h"
#include "caching/metadata/testing/metadata_image.h"

namespace dmcache {
namespace {

class superblock_test : public testing::Test {
 protected:
  std::string refusal() {
    cache_.write();
    const auto found = read_superblock(cache_.image.device);
    return found ? "read" : found.error().message;
  }

  metadata_image cache_{2};
};

TEST_F(superblock_test, comes_back_as_it_was_written) {
  cache_.block.policy_name = {'s', 'm', 'q'};
  cache_.block.padding.back() = std::byte{7};
  EXPECT_EQ(refusal(), "read");
  const superblock found = read_superblock(cache_.image.device).value();
  EXPECT_EQ(found.policy(), "smq");
  EXPECT_EQ(found.cache_blocks, 100U);
  EXPECT_EQ(found.padding.back(), std::byte{7});
}

TEST_F(superblock_test, of_another_version_is_refused) {
  cache_.block.version = 3;
  EXPECT_EQ(refusal(), "block 0: superblock has version 3; 1 and 2 are known");
}

TEST_F(superblock_test, with_incompatible_features_is_refused) {
  cache_.block.incompat_flags = 2;
  EXPECT_EQ(refusal(),
            "block 0: superblock has incompatible features 0x2 that this version doesn't "
            "know: use a newer one");
}

TEST_F(superblock_test, of_something_else_is_refused) {
  cache_.block.magic = 5;
  EXPECT_EQ(refusal(), "block 0: superblock has magic number 0x5, not 0x18c403 of a cache");
}

TEST_F(superblock_test, that_was_changed_is_refused) {
  cache_.write();
  cache_.image.block(0)[4000] = std::byte{1};
  EXPECT_THAT(read_superblock(cache_.image.device),
              fails_with(failure::failed, "block 0: bad checksum in superblock"));
}

TEST_F(superblock_test, that_cannot_be_read_is_an_error_of_the_device) {
  cache_.write();
  faulty_device from{cache_.image.device};
  from.fail_reads(bytes{0}, bytes{metadata_block_size});
  EXPECT_THAT(read_superblock(from),
              fails_with(failure::environment,
                         testing::StartsWith("block 0: cannot read the superblock: ")));
}

TEST_F(superblock_test, that_was_never_written_is_refused) {
  EXPECT_THAT(
      read_superblock(cache_.image.device),
      fails_with(failure::failed,
                 "block 0: superblock is all zeroes: this device holds no cache metadata yet"));
}

TEST_F(superblock_test, that_was_wiped_is_refused_and_not_taken_for_an_unused_device) {
  cache_.write();
  ASSERT_THAT(wipe_superblock(cache_.image.device), succeeds());
  EXPECT_THAT(
      read_superblock(cache_.image.device),
      fails_with(failure::failed,
                 "block 0: bad checksum in superblock: cache_restore, cache_repair or "
                 "cache_metadata_unpack to this device failed or was interrupted: run it again"));
  EXPECT_FALSE(std::ranges::all_of(cache_.image.block(0),
                                   [](std::byte each) { return each == std::byte{}; }));
}

TEST_F(superblock_test, a_policy_name_may_fill_its_field) {
  cache_.block.policy_name.fill('x');
  EXPECT_EQ(cache_.block.policy(), "xxxxxxxxxxxxxxxx");
}

TEST_F(superblock_test, the_origin_size_cannot_overflow) {
  cache_.block.discard_block_size = std::uint64_t{1} << 60;
  cache_.block.discard_nr_blocks = std::uint64_t{1} << 60;
  EXPECT_EQ(cache_.block.max_origin_blocks(), ~std::uint64_t{0});
}

TEST_F(superblock_test,
       a_block_is_unused_or_of_metadata_if_it_is_all_zero_or_has_the_magic_number) {
  std::vector<std::byte> first(metadata_block_size);
  EXPECT_TRUE(is_unused_or_metadata(first));
  first[100] = std::byte{1};
  EXPECT_FALSE(is_unused_or_metadata(first));
  EXPECT_FALSE(is_unused_or_metadata(std::span{first}.first(101))); // a short file
  EXPECT_TRUE(is_unused_or_metadata(std::span{first}.first(100)));
  cache_.write();
  EXPECT_TRUE(is_unused_or_metadata(cache_.image.block(0)));
}

TEST_F(superblock_test, each_policy_has_its_own_version) {
  using version = std::array<std::uint32_t, 3>;
  EXPECT_EQ(own_version_of_policy("sift"), (version{1, 0, 0}));
  for (const char *kernels : {"smq", "mq", "cleaner", "default"}) {
    EXPECT_EQ(own_version_of_policy(kernels), (version{2, 0, 0})) << kernels;
  }
  EXPECT_EQ(own_version_of_policy("lru"), (version{0, 0, 0}));
}

TEST_F(superblock_test, xml_is_told_from_metadata) {
  const auto is_xml = [](std::string_view text) {
    return looks_like_xml(std::as_bytes(std::span{text}));
  };
  EXPECT_TRUE(is_xml("<superblock"));
  EXPECT_TRUE(is_xml("\n <?xml version"));
  EXPECT_FALSE(is_xml(""));
  EXPECT_FALSE(is_xml("<"));
  EXPECT_FALSE(is_xml("< 5"));
  EXPECT_FALSE(is_xml({"<sup\1\0\0\0", 8})); // a checksum and flags
}

} // namespace
} // namespace dmcache
