#include "caching/metadata/mapping_writer.h"

#include <random>

#include <gtest/gtest.h>

#include "base/testing/faulty_device.h"
#include "base/testing/matchers.h"
#include "caching/metadata/testing/stored_metadata.h"

namespace dmcache {
namespace {

class mapping_writer_test : public testing::TestWithParam<std::uint32_t> {
 protected:
  mapping_writer_test() {
    block_.magic = superblock::magic_value;
    block_.version = GetParam();
    block_.data_block_size = 128;
    block_.metadata_block_size = 8;
    transactions_ = std::move(*transaction_manager::create(on_));
    writer_ = make_writer();
    EXPECT_THAT(writer_->create(), succeeds());
    const auto discards = array{*transactions_, sizeof(le64)}.create();
    EXPECT_THAT(discards, succeeds());
    block_.discard_root = discards->value();
  }

  std::unique_ptr<mapping_writer> make_writer() {
    return std::make_unique<mapping_writer>(*transactions_, block_, [this](cache_block block) {
      const auto found = wanted_.find(block.value());
      return found == wanted_.end()
                 ? mapping_writer::entry{false, {}, false}
                 : mapping_writer::entry{true, origin_block{found->second.origin},
                                         found->second.dirty};
    });
  }

  void commit() {
    ASSERT_THAT(transactions_->commit([&](const space_map_root &space_map) {
      block_.space_map = space_map;
      return commit_superblock(on_, block_);
    }),
                succeeds());
  }

  // What a reader finds; all of it is sound.
  mapping_map stored(std::uint32_t flags) {
    superblock read = block_;
    read.flags = flags;
    const stored_metadata found = stored_on(on_, read);
    EXPECT_EQ(found.damage, "");
    return found.mapped;
  }

  void write_all() {
    for (std::uint64_t part = 0; part < writer_->nr_parts(); ++part) {
      ASSERT_THAT(writer_->write_part(part), succeeds());
    }
    for (std::uint64_t part = 0; part < writer_->nr_dirty_parts(); ++part) {
      ASSERT_THAT(writer_->write_dirty_part(part), succeeds());
    }
  }

  memory_device on_{bytes{1000 * metadata_block_size}};
  superblock block_{};
  mapping_map wanted_;
  std::unique_ptr<transaction_manager> transactions_;
  std::unique_ptr<mapping_writer> writer_;
};

INSTANTIATE_TEST_SUITE_P(versions, mapping_writer_test, testing::Values(1, 2));

TEST_P(mapping_writer_test, a_reader_finds_what_was_written) {
  std::mt19937_64 chance{GetParam()};
  for (int round = 0; round < 60; ++round) {
    const auto size = static_cast<std::uint32_t>(chance() % (round % 5 == 0 ? 80000 : 3000));
    std::erase_if(wanted_, [&](const auto &each) { return each.first >= size; });
    ASSERT_THAT(writer_->resize(size), succeeds());
    for (std::uint64_t i = 0; i < size; i += 1 + chance() % 50) {
      if (chance() % 3 == 0) {
        wanted_.erase(i);
      } else {
        wanted_[i] = {chance() % (std::uint64_t{1} << 27) * 100000 + i, chance() % 2 == 0};
      }
    }
    write_all();
    commit();
    ASSERT_EQ(stored(superblock::clean_shutdown), wanted_) << size;
  }
}

TEST_P(mapping_writer_test, a_part_holds_what_is_true_when_it_is_written) {
  ASSERT_THAT(writer_->resize(1018), succeeds());
  wanted_ = {{1, {17, true}}, {508, {18, false}}, {509, {19, true}}};
  ASSERT_THAT(writer_->write_part(mapping_writer::part_of(cache_block{508})), succeeds());
  commit();
  EXPECT_EQ(stored(0), (mapping_map{{1, {17, true}}, {508, {18, true}}}));
  ASSERT_THAT(writer_->write_part(mapping_writer::part_of(cache_block{509})), succeeds());
  commit();
  EXPECT_EQ(stored(0), (mapping_map{{1, {17, true}}, {508, {18, true}}, {509, {19, true}}}));
}

TEST_P(mapping_writer_test, nothing_is_read_once_the_trees_are_loaded) {
  ASSERT_THAT(writer_->resize(40000), succeeds());
  commit();
  faulty_device on{on_};
  transactions_ = std::move(*transaction_manager::open(on, block_.space_map));
  writer_ = make_writer();
  ASSERT_THAT(writer_->load_trees(), succeeds());
  on.fail_reads(bytes{0}, on_.size());
  wanted_[39999] = {5, true};
  write_all();
  ASSERT_THAT(writer_->resize(60000), succeeds());
  commit();
  EXPECT_EQ(stored(superblock::clean_shutdown), wanted_);
}

} // namespace
} // namespace dmcache
