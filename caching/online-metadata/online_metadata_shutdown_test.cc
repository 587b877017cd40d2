#include "base/testing/matchers.h"
#include "caching/metadata/metadata_size.h"
#include "caching/online-metadata/testing/metadata_session.h"

namespace dmcache {
namespace {

using mapping_map = metadata_session::mapping_map;

class clean_shutdown_test : public testing::TestWithParam<std::uint32_t> {
 protected:
  online_metadata::open_options options(std::uint64_t nr_cache_blocks = 1000) const {
    auto made = devices(nr_cache_blocks);
    made.format_version = GetParam();
    return made;
  }

  // Every third of the cache blocks is mapped, every second one of these is dirty.
  static void fill(metadata_session &session) {
    for (std::uint64_t i = 0; i < session.opened.mappings->nr_cache_blocks(); i += 3) {
      session.map(i, 5 * i);
      if (i % 2 == 0) {
        session.mark_dirty(i);
      }
    }
  }

  memory_device on_{bytes{200 * metadata_block_size}};
};

INSTANTIATE_TEST_SUITE_P(versions, clean_shutdown_test, testing::Values(1, 2));

TEST_P(clean_shutdown_test, everything_comes_back) {
  mapping_map before;
  {
    metadata_session session{on_, options()};
    fill(session);
    session.opened.discards->set(5);
    session.opened.statistics = {1, 2, 3, 0xffffffff};
    before = session.mappings();
    EXPECT_EQ(session.shut_down(), 1U);
  }
  EXPECT_EQ(sound_on(on_).block.flags, superblock::clean_shutdown);
  EXPECT_EQ(sound_on(on_).mapped, before);
  const metadata_session session{on_, options()};
  const auto &opened = session.opened;
  EXPECT_TRUE(opened.was_clean);
  EXPECT_FALSE(opened.was_formatted);
  EXPECT_EQ(session.mappings(), before);
  EXPECT_EQ(opened.discards->word(0), 0b100000U);
  ASSERT_TRUE(opened.hints);
  for (std::uint64_t i = 0; i < 1000; ++i) {
    EXPECT_EQ((*opened.hints)[i], i % 3 == 0 ? metadata_session::hint_of(cache_block{i}) : 0);
  }
  EXPECT_EQ(opened.policy, "smq");
  EXPECT_EQ(opened.policy_version, (std::array<std::uint32_t, 3>{2, 0, 0}));
  EXPECT_EQ(opened.statistics.read_hits, 1U);
  EXPECT_EQ(opened.statistics.read_misses, 2U);
  EXPECT_EQ(opened.statistics.write_hits, 3U);
  EXPECT_EQ(opened.statistics.write_misses, 0xffffffffU);
  EXPECT_EQ(opened.block_size, test_block_size);
}

TEST_P(clean_shutdown_test, once_opened_again_the_cache_is_unclean) {
  {
    metadata_session session{on_, options()};
    fill(session);
    session.opened.discards->set(5);
    session.shut_down();
    EXPECT_TRUE(sound_on(on_).block.is_clean());
  }
  mapping_map before;
  {
    const metadata_session crashed{on_, options()};
    EXPECT_EQ(sound_on(on_).block.flags, 0U);
    before = crashed.mappings();
  }
  const metadata_session session{on_, options()};
  EXPECT_FALSE(session.opened.was_clean);
  EXPECT_TRUE(session.opened.discards->empty());
  EXPECT_FALSE(session.opened.hints);
  EXPECT_EQ(session.opened.mappings->nr_dirty(), before.size());
  for (auto &[block, its] : before) {
    its.dirty = true;
  }
  EXPECT_EQ(session.mappings(), before);
}

TEST_P(clean_shutdown_test, dirty_blocks_that_became_clean_are_so) {
  {
    metadata_session session{on_, options()};
    fill(session);
    session.shut_down();
  }
  {
    metadata_session session{on_, options()};
    for (const auto &[block, its] : session.mappings()) {
      session.opened.mappings->mark_clean(cache_block{block});
    }
    session.shut_down();
  }
  EXPECT_EQ((metadata_session{on_, options()}.opened.mappings->nr_dirty()), 0U);
}

TEST_P(clean_shutdown_test, it_is_not_clean_if_anything_changes_before_the_commit) {
  metadata_session session{on_, options()};
  session.map(3, 17);
  session.map(4, 18);
  ASSERT_TRUE(session.commit());
  const auto is_clean_after = [&](auto change) {
    EXPECT_EQ(session.prepare(), true);
    change();
    EXPECT_TRUE(session.commit());
    return sound_on(on_).block.is_clean();
  };
  EXPECT_FALSE(is_clean_after([&] { session.mark_dirty(3); }));
  EXPECT_FALSE(is_clean_after([&] { session.map(5, 19); }));
  EXPECT_FALSE(is_clean_after([&] { session.unmap(5); }));
  EXPECT_FALSE(is_clean_after([&] { session.opened.metadata->changed(cache_block{3}); }));
  EXPECT_TRUE(is_clean_after([] {}));
  EXPECT_EQ(sound_on(on_).mapped, (mapping_map{{3, {17, true}}, {4, {18, false}}}));
}

TEST_P(clean_shutdown_test, a_commit_after_it_makes_the_cache_unclean_again) {
  metadata_session session{on_, options()};
  session.shut_down();
  EXPECT_TRUE(sound_on(on_).block.is_clean());
  session.map(3, 17);
  ASSERT_TRUE(session.commit());
  EXPECT_EQ(sound_on(on_).block.flags, 0U);
}

TEST_P(clean_shutdown_test, preparing_twice_does_no_harm) {
  metadata_session session{on_, options()};
  fill(session);
  EXPECT_EQ(session.prepare(), true);
  EXPECT_EQ(session.prepare(), true);
  ASSERT_TRUE(session.commit());
  EXPECT_TRUE(sound_on(on_).block.is_clean());
  EXPECT_EQ(sound_on(on_).mapped, session.mappings());
}

// 20 parts of mappings and 10 of hints, in 45 blocks.
TEST_P(clean_shutdown_test, a_small_device_takes_several_commits) {
  constexpr std::uint64_t nr_cache_blocks = 20 * 509;
  memory_device on{bytes{45 * metadata_block_size}};
  mapping_map before;
  for (int round = 0; round < 3; ++round) {
    metadata_session session{on, options(nr_cache_blocks)};
    for (std::uint64_t i = static_cast<std::uint64_t>(round); i < nr_cache_blocks; i += 509) {
      if (!session.opened.metadata->has_room_for(cache_block{i})) {
        ASSERT_TRUE(session.commit());
      }
      session.map(i, i);
      session.mark_dirty(i);
    }
    before = session.mappings();
    unsigned nr_commits = 0;
    for (bool is_done = false; !is_done; ++nr_commits) {
      EXPECT_FALSE(sound_on(on).block.is_clean());
      const auto prepared = session.prepare();
      ASSERT_THAT(prepared, succeeds());
      is_done = *prepared;
      ASSERT_TRUE(session.commit());
    }
    EXPECT_GE(nr_commits, 2U);
    EXPECT_LE(nr_commits, 30U);
    EXPECT_TRUE(sound_on(on).block.is_clean());
    EXPECT_EQ(sound_on(on).mapped, before);
    EXPECT_EQ(sound_on(on).hints.size(), nr_cache_blocks);
  }
  const metadata_session session{on, options(nr_cache_blocks)};
  EXPECT_EQ(session.mappings(), before);
  EXPECT_EQ((*session.opened.hints)[509], metadata_session::hint_of(cache_block{509}));
}

TEST_P(clean_shutdown_test, what_becomes_dirty_between_its_commits_is_so) {
  constexpr std::uint64_t nr_cache_blocks = 20 * 509;
  memory_device on{bytes{45 * metadata_block_size}};
  metadata_session session{on, options(nr_cache_blocks)};
  session.map(0, 3);
  session.map(nr_cache_blocks - 1, 4);
  std::uint64_t nr_commits = 0;
  for (bool is_done = false; !is_done; ++nr_commits) {
    const auto prepared = session.prepare();
    ASSERT_THAT(prepared, succeeds());
    is_done = *prepared;
    ASSERT_TRUE(session.commit());
    if (!is_done) {
      session.mark_dirty(nr_commits == 0 ? nr_cache_blocks - 1 : 0);
    }
  }
  EXPECT_GE(nr_commits, 2U);
  EXPECT_TRUE(sound_on(on).block.is_clean());
  EXPECT_EQ(sound_on(on).mapped, session.mappings());
  EXPECT_GE(session.opened.mappings->nr_dirty(), 1U);
}

// They are replaced as a whole, on devices with and without the room for it.
TEST_P(clean_shutdown_test, without_room_for_all_discards_none_are_written) {
  unsigned nr_refusals = 0;
  unsigned nr_shutdowns = 0;
  const std::uint64_t smallest = GetParam() == 1 ? 12 : 14; // in which a cache can be made
  for (std::uint64_t nr_blocks = smallest; nr_blocks < 40; ++nr_blocks) {
    memory_device on{bytes{nr_blocks * metadata_block_size}};
    for (int round = 0; round < 2; ++round) {
      metadata_session session{on, options(509)};
      if (round == 0) {
        session.map(0, 3);
      }
      session.opened.discards->set(7);
      result<bool> prepared = session.prepare();
      for (; prepared && !*prepared; prepared = session.prepare()) {
        ASSERT_TRUE(session.commit());
      }
      ASSERT_TRUE(session.commit());
      EXPECT_EQ(sound_on(on).block.is_clean(), prepared.has_value());
      if (!prepared) {
        EXPECT_THAT(prepared,
                    fails_with(failure::failed, testing::HasSubstr("metadata device is full")));
        ++nr_refusals;
        break;
      }
      ++nr_shutdowns;
    }
  }
  EXPECT_GT(nr_refusals, 0U);
  EXPECT_GT(nr_shutdowns, 0U);
}

TEST_P(clean_shutdown_test, a_full_device_is_told_and_can_still_be_committed_to) {
  constexpr std::uint64_t nr_cache_blocks = 20 * 509;
  memory_device on{bytes{34 * metadata_block_size}};
  metadata_session session{on, options(nr_cache_blocks)};
  session.map(0, 3);
  result<bool> prepared = session.prepare();
  for (int round = 0; prepared && round < 50; ++round) {
    ASSERT_FALSE(*prepared);
    ASSERT_TRUE(session.commit());
    prepared = session.prepare();
  }
  ASSERT_THAT(prepared, fails_with(failure::failed));
  EXPECT_EQ(prepared.error().message,
            fmt::format("the metadata device is full: {} of 34 blocks are in use, and a clean "
                        "shutdown needs more: {}",
                        session.opened.metadata->nr_used_blocks(),
                        way_to_larger_metadata(sound_on(on).block.cache_blocks)));
  ASSERT_TRUE(session.commit());
  EXPECT_FALSE(sound_on(on).block.is_clean());
  EXPECT_EQ(sound_on(on).mapped.size(), 1U);
}

} // namespace
} // namespace dmcache
