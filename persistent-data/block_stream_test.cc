#include "persistent-data/block_stream.h"

#include <random>

#include <gtest/gtest.h>

#include "base/memory_device.h"
#include "base/testing/faulty_device.h"

namespace dmcache {
namespace {

constexpr std::size_t nr_blocks = 3000; // more than all windows hold

// Block i holds i in its first byte and i / 256 in its second.
class block_stream_test : public testing::Test {
 protected:
  block_stream_test() {
    for (std::size_t i = 0; i < nr_blocks; ++i) {
      memory_.contents()[i * metadata_block_size] = static_cast<std::byte>(i);
      memory_.contents()[i * metadata_block_size + 1] = static_cast<std::byte>(i / 256);
      order_.push_back(i);
    }
  }

  void expect_all(device &from, std::size_t bad_block = nr_blocks) {
    block_stream stream{from, order_.size(),
                        [&](std::size_t i) { return metadata_block{order_[i]}; }};
    for (std::size_t i = 0; i < order_.size(); ++i) {
      const auto block = stream.next();
      ASSERT_TRUE(block.has_value());
      EXPECT_EQ(block->position, i);
      EXPECT_EQ(block->where, metadata_block{order_[i]});
      EXPECT_EQ(static_cast<bool>(block->error), order_[i] == bad_block);
      if (!block->error) {
        const auto seen = std::to_integer<std::size_t>(block->data[0]) +
                          256 * std::to_integer<std::size_t>(block->data[1]);
        EXPECT_EQ(seen, order_[i]);
      }
    }
    EXPECT_FALSE(stream.next().has_value());
  }

  memory_device memory_{bytes{nr_blocks * metadata_block_size}};
  std::vector<std::size_t> order_;
};

TEST_F(block_stream_test, hands_out_blocks_in_the_order_asked_for) {
  std::shuffle(order_.begin(), order_.end(), std::mt19937{1});
  expect_all(memory_);
}

TEST_F(block_stream_test, a_bad_block_costs_no_other) {
  faulty_device faulty{memory_};
  const metadata_block bad{1234};
  faulty.fail_reads(offset_of(bad), offset_of(bad + 1));
  expect_all(faulty, bad.value());
}

TEST_F(block_stream_test, may_have_nothing_to_read) {
  order_.clear();
  expect_all(memory_);
}

TEST_F(block_stream_test, may_be_given_up_early) {
  block_stream stream{memory_, order_.size(), [&](std::size_t i) { return metadata_block{i}; }};
  EXPECT_TRUE(stream.next().has_value());
}

} // namespace
} // namespace dmcache
