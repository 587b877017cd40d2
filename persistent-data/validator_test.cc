#include "persistent-data/validator.h"

#include <array>

#include <gtest/gtest.h>

namespace dmcache {
namespace {

class validator_test : public testing::Test {
 protected:
  validator_test() {
    block_[100] = std::byte{42};
    seal(array_block_type, metadata_block{7}, block_);
  }

  const char *fault(std::uint64_t where) const {
    return fault_of(array_block_type, metadata_block{where}, block_);
  }

  std::array<std::byte, metadata_block_size> block_{};
};

TEST_F(validator_test, believes_what_it_sealed) {
  EXPECT_EQ(fault(7), nullptr);
}

TEST_F(validator_test, sees_a_change_of_any_byte) {
  for (std::byte &each : block_) {
    each ^= std::byte{1};
    EXPECT_STREQ(fault(7), "bad checksum");
    each ^= std::byte{1};
  }
}

TEST_F(validator_test, sees_a_block_that_was_written_elsewhere) {
  EXPECT_STREQ(fault(8), "another block's number");
}

TEST_F(validator_test, tells_types_apart) {
  EXPECT_STREQ(fault_of(btree_node_type, metadata_block{7}, block_), "bad checksum");
}

TEST_F(validator_test, says_so_when_a_block_was_never_written) {
  block_.fill(std::byte{0});
  EXPECT_STREQ(fault(7), "bad checksum: the block is all zeroes");
}

} // namespace
} // namespace dmcache
