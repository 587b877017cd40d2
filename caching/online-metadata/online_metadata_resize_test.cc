#include "caching/metadata/metadata_size.h"
#include "caching/online-metadata/testing/stored_cache.h"

namespace dmcache {
namespace {

using resize_test = stored_cache_test;

INSTANTIATE_TEST_SUITE_P(versions, resize_test, testing::Values(1, 2));

// Resizing the fast device.

TEST_P(resize_test, a_larger_fast_device_has_free_blocks) {
  for (const std::uint64_t size : {1001U, 1018U, 1019U, 2000U, 5000U, 40000U}) {
    memory_device copy{{on_.contents().begin(), on_.contents().end()}};
    {
      metadata_session session{copy, devices(size)};
      EXPECT_EQ(session.opened.mappings->nr_cache_blocks(), size);
      EXPECT_EQ(session.mappings(), before_);
      ASSERT_TRUE(session.opened.hints);
      EXPECT_EQ(session.opened.hints->size(), size);
      EXPECT_EQ((*session.opened.hints)[990], metadata_session::hint_of(cache_block{990}));
      EXPECT_EQ(sound_on(copy).block.cache_blocks, size);
      session.map(size - 1, 9998);
      session.mark_dirty(size - 1);
      ASSERT_GE(session.shut_down(), 1U);
    }
    auto expected = before_;
    expected[size - 1] = {9998, true};
    EXPECT_EQ(sound_on(copy).mapped, expected);
    EXPECT_EQ(sound_on(copy).hints.size(), size);
  }
}

TEST_P(resize_test, a_larger_fast_device_needs_room_in_the_metadata) {
  EXPECT_EQ(refusal(devices(200000)),
            "the metadata device is full: 200000 cache blocks need a larger one: " +
                way_to_larger_metadata(200000));
}

TEST_P(resize_test, a_smaller_fast_device_may_lack_clean_blocks) {
  change_superblock(
      [](superblock &block) { block.uuid[0] = std::byte{7}; }); // kept, whatever it is
  {
    metadata_session session{on_, devices(991)};
    EXPECT_EQ(session.mappings(), before_); // cache block 990 is the last one
    ASSERT_EQ(session.shut_down(), 1U);
    EXPECT_EQ(sound_on(on_).mapped, before_);
  }
  {
    metadata_session session{on_, devices(991)};
    session.opened.mappings->mark_clean(cache_block{990});
    ASSERT_EQ(session.shut_down(), 1U);
  }
  {
    metadata_session session{on_, devices(501)};
    std::erase_if(before_, [](const auto &each) { return each.first > 500; });
    EXPECT_EQ(session.mappings(), before_);
    EXPECT_EQ(sound_on(on_).block.cache_blocks, 501U);
    ASSERT_EQ(session.shut_down(), 1U);
  }
  EXPECT_EQ(sound_on(on_).mapped, before_);
  EXPECT_EQ(sound_on(on_).hints.size(), 501U);
  EXPECT_EQ(sound_on(on_).block.uuid[0], std::byte{7});
}

TEST_P(resize_test, a_smaller_fast_device_must_not_lack_dirty_blocks) {
  EXPECT_EQ(refusal(devices(990)),
            "the fast device has 990 cache blocks, and 1 dirty blocks lie beyond: the first is "
            "cache block 990, mapped to origin block 1980");
  EXPECT_EQ(refusal(devices(500)),
            "the fast device has 500 cache blocks, and 2 dirty blocks lie beyond: the first is "
            "cache block 500, mapped to origin block 1000");
  make_unclean();
  EXPECT_EQ(refusal(devices(950)),
            "the fast device has 950 cache blocks, and 5 dirty blocks lie beyond: the first is "
            "cache block 950, mapped to origin block 1900");
}

TEST_P(resize_test, to_be_read_the_fast_device_has_all_mapped_blocks) {
  EXPECT_EQ(refusal(read_only(devices(991))), "opened");
  EXPECT_EQ(refusal(read_only(devices(900))),
            "the fast device has 900 cache blocks, and 10 mapped blocks lie beyond: the first is "
            "cache block 900, mapped to origin block 1800");
}

TEST_P(resize_test, after_a_refusal_the_next_try_works) {
  EXPECT_NE(refusal(devices(100)), "opened");
  EXPECT_NE(refusal(devices(cache_blocks, 100)), "opened");
  EXPECT_EQ((metadata_session{on_, devices(cache_blocks)}.mappings()), before_);
}

// Resizing the origin.

TEST_P(resize_test, clean_mappings_beyond_the_end_of_the_origin_go) {
  {
    metadata_session session{on_, devices(cache_blocks)};
    session.opened.mappings->mark_clean(cache_block{990});
    ASSERT_EQ(session.shut_down(), 1U);
  }
  before_[990].dirty = false;
  auto options = devices(cache_blocks, 1500);
  options.origin_size = options.origin_size + 127; // which is no block
  {
    metadata_session session{on_, options};
    std::erase_if(before_, [](const auto &each) { return each.second.origin >= 1500; });
    EXPECT_EQ(session.mappings(), before_);
    EXPECT_EQ(sound_on(on_).mapped.size(), before_.size()); // gone from the device, too
    ASSERT_EQ(session.shut_down(), 1U);
  }
  EXPECT_EQ(sound_on(on_).mapped, before_);
}

TEST_P(resize_test, dirty_mappings_beyond_the_end_of_the_origin_are_refused) {
  EXPECT_EQ(refusal(devices(cache_blocks, 1980)),
            "the origin has 1980 blocks, and 1 dirty blocks are mapped to beyond its end: the "
            "first is cache block 990, mapped to origin block 1980");
  auto options = devices(cache_blocks, 1980);
  options.origin_size = options.origin_size + 127;
  EXPECT_NE(refusal(options), "opened"); // a partial block doesn't count
  EXPECT_NO_THROW((metadata_session{on_, devices(cache_blocks, 1981)}));
  EXPECT_EQ(refusal(devices(cache_blocks, 1900)), // unclean now
            "the origin has 1900 blocks, and 5 dirty blocks are mapped to beyond its end: the "
            "first is cache block 950, mapped to origin block 1900");
}

TEST_P(resize_test, origin_blocks_beyond_4_tib_are_as_good_as_others) {
  constexpr std::uint64_t large = std::uint64_t{1} << 40;
  {
    metadata_session session{on_, devices(cache_blocks, large)};
    session.map(1, large - 1);
    session.mark_dirty(1);
    ASSERT_EQ(session.shut_down(), 1U);
  }
  before_[1] = {large - 1, true};
  EXPECT_EQ(sound_on(on_).mapped, before_);
  EXPECT_EQ(refusal(devices(cache_blocks, large - 1)),
            "the origin has 1099511627775 blocks, and 1 dirty blocks are mapped to beyond its end: "
            "the first is cache block 1, mapped to origin block 1099511627775");
  EXPECT_EQ((metadata_session{on_, devices(cache_blocks, large)}.mappings()), before_);
}

// Discards.

std::vector<std::uint64_t> numbers(std::uint64_t begin, std::uint64_t end) {
  std::vector<std::uint64_t> all;
  for (; begin < end; ++begin) {
    all.push_back(begin);
  }
  return all;
}

TEST_P(resize_test, discards_come_back) {
  const metadata_session session{on_, devices(cache_blocks)};
  auto expected = numbers(100, 200);
  expected.push_back(9999);
  EXPECT_EQ(set_in(*session.opened.discards), expected);
}

TEST_P(resize_test, discards_are_cut_anew_if_their_size_changes) {
  // Twice as large: the origin has more than 2^14 blocks now, and an end elsewhere.
  const metadata_session session{on_, devices(cache_blocks, 20001)};
  EXPECT_EQ(session.opened.discards->block_size(), sectors{256});
  EXPECT_EQ(set_in(*session.opened.discards), numbers(50, 100));
}

TEST_P(resize_test, only_whole_discards_are_cut_anew) {
  {
    metadata_session session{on_, devices(cache_blocks)};
    session.opened.discards->clear(101);
    session.opened.discards->clear(150);
    ASSERT_EQ(session.shut_down(), 1U);
  }
  const metadata_session session{on_, devices(cache_blocks, 20001)};
  auto expected = numbers(51, 100);
  std::erase(expected, 75);
  EXPECT_EQ(set_in(*session.opened.discards), expected);
}

TEST_P(resize_test, smaller_discards_are_cut_from_larger_ones) {
  {
    metadata_session session{on_, devices(cache_blocks, 20000)};
    session.opened.discards->set(7);
    ASSERT_EQ(session.shut_down(), 1U);
  }
  const metadata_session session{on_, devices(cache_blocks, 10000)};
  auto expected = numbers(100, 200);
  expected.insert(expected.begin(), {14, 15});
  EXPECT_EQ(set_in(*session.opened.discards), expected);
}

TEST_P(resize_test, discards_end_with_the_origin) {
  {
    metadata_session session{on_, devices(cache_blocks, 2000)};
    EXPECT_EQ(session.opened.discards->nr_blocks(), 2000U);
    EXPECT_EQ(set_in(*session.opened.discards), numbers(100, 200));
    session.opened.discards->set(1999);
    ASSERT_EQ(session.shut_down(), 1U);
  }
  EXPECT_EQ(sound_on(on_).block.discard_nr_blocks, 2000U);
  // What became of the last one's rest, which may not have been there, is unknown.
  const metadata_session session{on_, devices(cache_blocks, 2001)};
  EXPECT_EQ(set_in(*session.opened.discards), numbers(100, 200));
}

TEST_P(resize_test, discards_of_absurd_size_do_not_matter) {
  change_superblock([](superblock &block) { block.discard_block_size = ~std::uint64_t{0}; });
  const metadata_session session{on_, read_only(devices(cache_blocks))};
  EXPECT_TRUE(session.opened.discards->empty());
}

} // namespace
} // namespace dmcache
