#include "base/testing/faulty_device.h"
#include "base/testing/matchers.h"
#include "caching/metadata/metadata_size.h"
#include "caching/online-metadata/testing/stored_cache.h"

namespace dmcache {
namespace {

using open_test = stored_cache_test;

INSTANTIATE_TEST_SUITE_P(versions, open_test, testing::Values(1, 2));

online_metadata::open_options passthrough(online_metadata::open_options options) {
  options.is_passthrough = true;
  return options;
}

online_metadata::open_options with_block_size(online_metadata::open_options options,
                                              std::uint64_t size) {
  options.block_size = sectors{size};
  return options;
}

std::string refusal_on(device &on, const online_metadata::open_options &options) {
  const auto opened = online_metadata::open(on, options);
  return opened ? "opened" : opened.error().message;
}

TEST_P(open_test, formats_a_device_that_holds_nothing) {
  memory_device fresh{bytes{20 * metadata_block_size}};
  auto options = devices(1000, 5000);
  options.format_version = GetParam();
  const metadata_session session{fresh, options};
  EXPECT_TRUE(session.opened.was_formatted);
  EXPECT_TRUE(session.opened.was_clean);
  EXPECT_FALSE(session.opened.hints);
  EXPECT_EQ(session.opened.policy, "");
  EXPECT_EQ(session.opened.block_size, test_block_size);
  EXPECT_EQ(session.opened.metadata->version(), GetParam());
  const stored_metadata stored = sound_on(fresh);
  EXPECT_EQ(stored.block.version, GetParam());
  EXPECT_EQ(stored.block.flags, 0U);
  EXPECT_EQ(stored.block.cache_blocks, 1000U);
  EXPECT_EQ(stored.block.data_block_size, 128U);
  EXPECT_EQ(stored.block.discard_nr_blocks, 5000U);
  EXPECT_TRUE(stored.mapped.empty());
}

TEST(format_test, what_can_not_be_formatted_is_refused) {
  memory_device fresh{bytes{20 * metadata_block_size}};
  auto options = devices(1000);
  EXPECT_EQ(refusal_on(fresh, with_block_size(options, 0)),
            "the device holds no cache metadata yet: to format it, a block size is needed");
  EXPECT_EQ(refusal_on(fresh, with_block_size(options, 100)),
            "a cache block of 100 sectors is not possible: multiples of 64 from 64 to 2097152 are");
  EXPECT_EQ(refusal_on(fresh, read_only(options)),
            "block 0: superblock is all zeroes: this device holds no cache metadata yet");
  EXPECT_EQ(refusal_on(fresh, devices(20000)),
            "the metadata device is full: 20000 cache blocks need a larger one: " +
                way_to_larger_metadata(20000));
  options.format_version = 3;
  EXPECT_EQ(refusal_on(fresh, options), "there is no metadata version 3: 1 and 2 are known");
  EXPECT_TRUE(std::ranges::all_of(fresh.contents(), [](std::byte b) { return b == std::byte{}; }));
}

TEST(format_test, other_contents_are_never_formatted) {
  memory_device other{bytes{20 * metadata_block_size}};
  other.contents()[4000] = std::byte{1};
  EXPECT_EQ(refusal_on(other, devices(1000)),
            "block 0: bad checksum in superblock, and no magic number: is this the metadata device "
            "of a cache?");
}

TEST(format_test, a_device_too_small_for_a_block_is_refused) {
  memory_device tiny{bytes{512}};
  EXPECT_EQ(refusal_on(tiny, devices(1000)),
            "Metadata device/file too small.  Is this binary metadata?");
}

TEST(format_test, a_failed_write_is_told) {
  memory_device fresh{bytes{20 * metadata_block_size}};
  faulty_device on{fresh};
  on.fail_writes(bytes{metadata_block_size}, fresh.size());
  EXPECT_EQ(refusal_on(on, devices(1000)), "cannot write the metadata: Input/output error");
  EXPECT_TRUE(std::ranges::all_of(fresh.contents().first(metadata_block_size),
                                  [](std::byte b) { return b == std::byte{}; }));
}

TEST_P(open_test, the_device_says_at_once_that_it_is_in_use) {
  const metadata_session session{on_, devices(cache_blocks)};
  EXPECT_EQ(sound_on(on_).block.flags, 0U);
  EXPECT_EQ(session.mappings(), before_);
}

TEST_P(open_test, the_block_size_need_not_be_told) {
  const metadata_session session{on_, with_block_size(devices(cache_blocks), 0)};
  EXPECT_EQ(session.opened.block_size, test_block_size);
}

TEST_P(open_test, another_block_size_is_refused) {
  EXPECT_EQ(refusal(with_block_size(devices(cache_blocks), 64)),
            "the cache has blocks of 128 sectors, and can't be used with blocks of 64");
}

TEST_P(open_test, impossible_devices_are_refused) {
  auto options = devices(cache_blocks);
  options.fast_size = sectors{127};
  EXPECT_EQ(refusal(options), "the fast device has 127 sectors, less than a cache block of 128");
  options = devices(std::uint64_t{1} << 29);
  EXPECT_EQ(refusal(options),
            "536870912 cache blocks are more than the 268435456 that a cache can have");
  EXPECT_EQ(refusal(devices(cache_blocks, 0)), "the origin is empty");
}

TEST_P(open_test, needs_check_is_refused_but_for_reading) {
  change_superblock([](superblock &block) { block.flags = superblock::needs_check; });
  EXPECT_EQ(refusal(devices(cache_blocks)),
            "NEEDS_CHECK is set, a metadata operation failed: run cache_check, and if it finds "
            "nothing, cache_check --clear-needs-check-flag");
  EXPECT_EQ(refusal(read_only(devices(cache_blocks))), "opened");
}

TEST_P(open_test, unknown_features_are_refused) {
  change_superblock([](superblock &block) { block.compat_ro_flags = 4; });
  EXPECT_EQ(refusal(devices(cache_blocks)),
            "block 0: unknown features 0x4: the cache can be used read-only");
  EXPECT_EQ(refusal(read_only(devices(cache_blocks))), "opened");
  change_superblock([](superblock &block) { block.incompat_flags = 4; });
  EXPECT_EQ(refusal(read_only(devices(cache_blocks))),
            "block 0: superblock has incompatible features 0x4 that this version doesn't know: use "
            "a newer one");
}

TEST_P(open_test, what_is_wrong_with_the_superblock_is_refused) {
  change_superblock([](superblock &block) { block.data_block_size = 100; });
  EXPECT_EQ(refusal(with_block_size(devices(cache_blocks), 0)),
            "block 0: superblock has block size 100 sectors, which is not a multiple of 64 from 64 "
            "to 2097152: see cache_repair");
  change_superblock([](superblock &block) { block.version = 3; });
  EXPECT_EQ(refusal(devices(cache_blocks)), "block 0: superblock has version 3; 1 and 2 are known");
}

TEST_P(open_test, passthrough_wants_a_clean_cache) {
  EXPECT_EQ(refusal(passthrough(devices(cache_blocks))),
            "2 cache blocks are dirty, which passthrough can't serve: use writeback or "
            "writethrough until none is");
  make_unclean();
  EXPECT_EQ(refusal(passthrough(devices(cache_blocks))),
            "the cache was not cleanly shut down, so all of it counts as dirty: use writeback or "
            "writethrough, and passthrough after a clean shutdown");
  {
    metadata_session session{on_, devices(cache_blocks)};
    for (const auto &[block, its] : session.mappings()) {
      session.opened.mappings->mark_clean(cache_block{block});
    }
    session.shut_down();
  }
  EXPECT_NO_THROW((metadata_session{on_, passthrough(devices(cache_blocks))}));
}

TEST_P(open_test, a_read_only_cache_is_left_as_it_is) {
  EXPECT_EQ(refusal(read_only(devices(cache_blocks))), "opened");
  make_unclean();
  const metadata_session session{on_, read_only(devices(cache_blocks))};
  EXPECT_EQ(session.opened.mappings->nr_dirty(), before_.size());
  EXPECT_FALSE(session.opened.metadata->has_changes());
  EXPECT_EQ(session.opened.metadata->version(), GetParam());
  EXPECT_EQ(session.opened.metadata->nr_blocks(), 200U);
  EXPECT_EQ(session.opened.metadata->nr_used_blocks(), block().space_map.nr_allocated);
}

TEST_P(open_test, hints_of_an_unnamed_policy_or_another_size_are_not_trusted) {
  change_superblock([](superblock &block) { block.policy_hint_size = 0; });
  EXPECT_FALSE((metadata_session{on_, read_only(devices(cache_blocks))}.opened.hints));
  change_superblock([](superblock &block) {
    block.policy_hint_size = 4;
    block.policy_name = {};
  });
  EXPECT_FALSE((metadata_session{on_, read_only(devices(cache_blocks))}.opened.hints));
}

TEST_P(open_test, damaged_mappings_are_refused) {
  const std::uint64_t part = only_part(block().mapping_root);
  damage_block(part);
  const std::string expected =
      fmt::format("block {0}: bad checksum ({1} -> {0}): run cache_check, and see cache_repair",
                  part, std::uint64_t{block().mapping_root});
  EXPECT_EQ(refusal(devices(cache_blocks)), expected);
  EXPECT_EQ(refusal(read_only(devices(cache_blocks))), expected);
}

TEST_P(open_test, damaged_hints_do_without) {
  damage_block(only_part(block().hint_root));
  {
    metadata_session session{on_, devices(cache_blocks)};
    EXPECT_TRUE(session.opened.was_clean);
    EXPECT_FALSE(session.opened.hints);
    EXPECT_EQ(session.mappings(), before_);
    ASSERT_EQ(session.shut_down(), 1U);
  }
  EXPECT_EQ(sound_on(on_).hints.size(), cache_blocks);
}

TEST_P(open_test, damaged_discards_do_without) {
  damage_block(only_part(block().discard_root));
  {
    metadata_session session{on_, devices(cache_blocks)};
    EXPECT_TRUE(session.opened.discards->empty());
    ASSERT_EQ(session.shut_down(), 1U);
  }
  EXPECT_EQ(sound_on(on_).mapped, before_);
}

TEST_P(open_test, hints_of_which_the_blocks_are_unknown_are_refused) {
  damage_block(block().hint_root);
  EXPECT_EQ(refusal(devices(cache_blocks)),
            fmt::format("block {0}: bad checksum ({0}): run cache_repair, no data is at stake",
                        std::uint64_t{block().hint_root}));
  EXPECT_EQ((metadata_session{on_, read_only(devices(cache_blocks))}.mappings()), before_);
}

TEST_P(open_test, a_space_map_that_lacks_a_block_is_refused) {
  const std::uint64_t victim = block().mapping_root;
  memory_device other{on_.size()};
  le64 bitmap;
  std::memcpy(&bitmap,
              on_.contents().data() + block().space_map.bitmap_root * metadata_block_size +
                  offsetof(space_map_index, entries),
              sizeof bitmap);
  const auto data =
      on_.contents().subspan(bitmap * metadata_block_size).first<metadata_block_size>();
  data[offsetof(space_map_bitmap, entries) + victim / 4] &= ~std::byte(3 << victim % 4 * 2);
  seal(space_map_bitmap_type, metadata_block{bitmap}, data);
  EXPECT_EQ(refusal(devices(cache_blocks)),
            fmt::format("block {}: the space map counts block {} as free, but it is in use: run "
                        "cache_check, and see cache_repair",
                        std::uint64_t{bitmap}, victim));
  EXPECT_EQ((metadata_session{on_, read_only(devices(cache_blocks))}.mappings()), before_);
}

TEST_P(open_test, leaked_blocks_do_no_harm) {
  change_superblock([](superblock &block) { block.hint_root = 0; });
  EXPECT_NE(stored_on(on_).damage, "");
  metadata_session session{on_, devices(cache_blocks)};
  EXPECT_EQ(session.mappings(), before_);
  EXPECT_EQ(session.shut_down(), 1U);
}

TEST_P(open_test, what_can_not_be_read_is_told) {
  faulty_device on{on_};
  const auto where = offset_of(metadata_block{block().mapping_root});
  on.fail_reads(where, where + 1);
  const auto opened = online_metadata::open(on, devices(cache_blocks));
  ASSERT_THAT(opened, fails_with(failure::environment));
  EXPECT_EQ(opened.error().message,
            fmt::format("block {0}: Input/output error ({0}): run cache_check, and see "
                        "cache_repair",
                        std::uint64_t{block().mapping_root}));
}

} // namespace
} // namespace dmcache
