#include "persistent-data/block_stream.h"

#include <random>

#include <gtest/gtest.h>

#include "base/memory_device.h"
#include "base/testing/faulty_device.h"

namespace dmcache {
namespace {

constexpr std::size_t nr_blocks = 3000; // more than all windows hold

// Counts the requests that have not ended, all of which end with the next wait().
class counting_device final : public device {
 public:
  explicit counting_device(device &counted) : counted_{counted} {}

  bytes size() const override { return counted_.size(); }
  void submit(std::span<const io_request> requests) override {
    nr_in_flight += requests.size();
    counted_.submit(requests);
  }
  void wait() override {
    nr_in_flight = 0;
    counted_.wait();
  }
  std::error_code flush() override { return counted_.flush(); }

  std::size_t nr_in_flight = 0;

 private:
  device &counted_;
};

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
  counting_device counted{memory_};
  {
    block_stream stream{counted, order_.size(), [&](std::size_t i) { return metadata_block{i}; }};
    do {
      ASSERT_TRUE(stream.next().has_value());
    } while (counted.nr_in_flight == 0);
  }
  EXPECT_EQ(counted.nr_in_flight, 0U); // nothing is left that would be read into freed memory
}

} // namespace
} // namespace dmcache
