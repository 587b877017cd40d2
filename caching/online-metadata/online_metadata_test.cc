#include "base/testing/matchers.h"
#include "caching/online-metadata/online_metadata.h"

#include "base/testing/faulty_device.h"
#include "caching/online-metadata/testing/metadata_session.h"

namespace dmcache {
namespace {

using mapping_map = metadata_session::mapping_map;

class online_metadata_test : public testing::TestWithParam<std::uint32_t> {
 protected:
  static constexpr std::uint64_t device_blocks = 500;

  online_metadata::open_options options(std::uint64_t nr_cache_blocks = 1000) const {
    auto made = devices(nr_cache_blocks);
    made.format_version = GetParam();
    return made;
  }

  stored_metadata stored() { return sound_on(on_); }

  memory_device on_{bytes{device_blocks * metadata_block_size}};
};

INSTANTIATE_TEST_SUITE_P(versions, online_metadata_test, testing::Values(1, 2));

TEST_P(online_metadata_test, a_commit_holds_what_was_mapped) {
  metadata_session session{on_, options()};
  session.map(3, 17);
  session.map(999, 4);
  session.mark_dirty(999);
  EXPECT_TRUE(session.opened.metadata->has_changes());
  EXPECT_TRUE(stored().mapped.empty());
  ASSERT_TRUE(session.commit());
  EXPECT_FALSE(session.opened.metadata->has_changes());
  EXPECT_FALSE(stored().block.is_clean());
  EXPECT_EQ(stored().mapped, (mapping_map{{3, {17, true}}, {999, {4, true}}}));
}

TEST_P(online_metadata_test, a_commit_lacks_what_was_unmapped) {
  metadata_session session{on_, options()};
  session.map(3, 17);
  session.map(4, 18);
  ASSERT_TRUE(session.commit());
  session.unmap(3);
  session.map(5, 17);
  ASSERT_TRUE(session.commit());
  EXPECT_EQ(stored().mapped, (mapping_map{{4, {18, true}}, {5, {17, true}}}));
}

TEST_P(online_metadata_test, a_commit_without_changes_is_the_superblock_alone) {
  metadata_session session{on_, options()};
  EXPECT_FALSE(session.opened.metadata->has_changes());
  const auto made = session.opened.metadata->freeze();
  ASSERT_TRUE(made);
  EXPECT_TRUE(made->blocks.empty());
  EXPECT_TRUE(session.write(*made));
  EXPECT_EQ(stored().block.flags, 0U);
}

TEST_P(online_metadata_test, only_parts_that_changed_are_written) {
  metadata_session session{on_, options(50000)};
  for (std::uint64_t i = 0; i < 50000; i += 100) {
    session.map(i, i / 100);
  }
  ASSERT_TRUE(session.commit());
  session.unmap(40000);
  const auto made = session.opened.metadata->freeze();
  ASSERT_TRUE(made);
  EXPECT_EQ(made->blocks.size(), 4U); // an array block, its node, the space map's bitmap and index
  EXPECT_TRUE(session.write(*made));
  EXPECT_EQ(stored().mapped.size(), 499U);
}

TEST_P(online_metadata_test, what_changes_after_freeze_belongs_to_the_next_commit) {
  metadata_session session{on_, options()};
  session.map(3, 17);
  const auto made = session.opened.metadata->freeze();
  ASSERT_TRUE(made);
  session.map(4, 18); // of the same part
  session.unmap(3);
  session.map(700, 17);
  EXPECT_TRUE(session.opened.metadata->has_changes());
  ASSERT_TRUE(session.write(*made));
  EXPECT_EQ(stored().mapped, (mapping_map{{3, {17, true}}}));
  EXPECT_TRUE(session.opened.metadata->has_changes());
  ASSERT_TRUE(session.commit());
  EXPECT_EQ(stored().mapped, (mapping_map{{4, {18, true}}, {700, {17, true}}}));
}

TEST_P(online_metadata_test, without_its_superblock_a_commit_is_nothing) {
  mapping_map before;
  {
    metadata_session session{on_, options()};
    session.map(3, 17);
    ASSERT_TRUE(session.commit());
    before = stored().mapped;
    session.unmap(3);
    session.map(4, 17);
    const auto made = session.opened.metadata->freeze();
    ASSERT_TRUE(made);
    for (const auto &each : made->blocks) {
      EXPECT_FALSE(
          transfer_and_wait(on_, io_request::operation::write, offset_of(each.where), each.data));
    }
  }
  EXPECT_EQ(stored().mapped, before);
  const metadata_session again{on_, options()};
  EXPECT_FALSE(again.opened.was_clean);
  EXPECT_EQ(again.mappings(), before);
}

TEST_P(online_metadata_test, no_block_leaks_however_many_commits_there_are) {
  metadata_session session{on_, options()};
  for (std::uint64_t i = 0; i < 500; ++i) {
    session.map(i, i);
    if (i >= 10) {
      session.unmap(i - 10);
    }
    ASSERT_TRUE(session.commit());
  }
  EXPECT_EQ(stored().mapped.size(), 10U);
  EXPECT_EQ(session.opened.metadata->nr_used_blocks(), stored().block.space_map.nr_allocated);
  EXPECT_LT(session.opened.metadata->nr_used_blocks(), 20U);
  EXPECT_EQ(session.opened.metadata->nr_blocks(), device_blocks);
}

TEST_P(online_metadata_test, nothing_is_read_after_open) {
  {
    metadata_session session{on_, options(40000)};
    session.opened.discards->set(1);
    session.shut_down();
  }
  faulty_device on{on_};
  std::uint64_t taken = 0;
  mapping_map before;
  {
    metadata_session session{on, options(41000)};
    on.fail_reads(bytes{0}, on_.size());
    for (std::uint64_t round = 0; round < 10; ++round) {
      for (std::uint64_t i = 0; i < 1000; ++i) {
        session.map((i * 41 + round) % 41000, taken++);
      }
      ASSERT_TRUE(session.commit());
    }
    for (std::uint64_t i = 0; i < 1000; ++i) {
      session.unmap(i * 41 + 5);
    }
    session.mark_dirty(0);
    before = session.mappings();
    ASSERT_GE(session.shut_down(), 1U);
  }
  EXPECT_EQ(stored().mapped, before);
  EXPECT_TRUE(stored().block.is_clean());
}

TEST_P(online_metadata_test, giving_up_leaves_the_last_commit_to_be_checked) {
  metadata_session session{on_, options()};
  session.map(3, 17);
  ASSERT_TRUE(session.commit());
  session.map(4, 18);
  ASSERT_TRUE(session.opened.metadata->freeze());
  session.map(5, 19);
  const auto superblock = session.opened.metadata->abort();
  EXPECT_TRUE(session.opened.metadata->is_needs_check());
  ASSERT_TRUE(session.write_superblock(superblock));
  EXPECT_EQ(stored().block.flags, superblock::needs_check);
  EXPECT_EQ(stored().mapped, (mapping_map{{3, {17, true}}}));
  session.map(6, 20); // goes nowhere
  EXPECT_FALSE(session.opened.metadata->has_changes());
  EXPECT_TRUE(session.opened.metadata->has_room_for(cache_block{6}));
}

TEST_P(online_metadata_test, giving_up_a_clean_shutdown_leaves_an_unclean_cache) {
  metadata_session session{on_, options()};
  session.map(3, 17);
  ASSERT_TRUE(session.prepare());
  ASSERT_TRUE(session.opened.metadata->freeze());
  ASSERT_TRUE(session.write_superblock(session.opened.metadata->abort()));
  EXPECT_EQ(stored().block.flags, superblock::needs_check);
  EXPECT_TRUE(stored().mapped.empty());
}

TEST_P(online_metadata_test, a_failed_commit_is_given_up) {
  faulty_device on{on_};
  metadata_session session{on, options()};
  session.map(3, 17);
  ASSERT_TRUE(session.commit());
  session.map(600, 18);
  on.fail_writes(bytes{metadata_block_size}, on_.size());
  EXPECT_FALSE(session.commit());
  ASSERT_TRUE(session.write_superblock(session.opened.metadata->abort()));
  EXPECT_EQ(stored().block.flags, superblock::needs_check);
  EXPECT_EQ(stored().mapped, (mapping_map{{3, {17, true}}}));
}

// 40 parts of mappings on a device with hardly more room than they take.
TEST_P(online_metadata_test, room_is_known_before_a_change_is_made) {
  constexpr std::uint64_t per_part = 509;
  memory_device on{bytes{70 * metadata_block_size}};
  metadata_session session{on, options(40 * per_part)};
  std::uint64_t nr_commits = 0;
  for (std::uint64_t part = 0; part < 40; ++part) {
    if (!session.opened.metadata->has_room_for(cache_block{part * per_part})) {
      ASSERT_TRUE(session.commit());
      ++nr_commits;
      ASSERT_TRUE(session.opened.metadata->has_room_for(cache_block{part * per_part}));
    }
    session.map(part * per_part, part);
    EXPECT_TRUE(session.opened.metadata->has_room_for(cache_block{part * per_part + 1}));
  }
  ASSERT_TRUE(session.commit());
  EXPECT_GE(nr_commits, 1U);
  EXPECT_LE(nr_commits, 4U);
  EXPECT_EQ(sound_on(on).mapped.size(), 40U);
}

TEST_P(online_metadata_test, a_commit_on_its_way_takes_room_until_it_is_durable) {
  constexpr std::uint64_t per_part = 509;
  memory_device on{bytes{60 * metadata_block_size}};
  metadata_session session{on, options(40 * per_part)};
  const online_metadata &metadata = *session.opened.metadata;
  std::uint64_t part = 0;
  for (; metadata.has_room_for(cache_block{part * per_part}); ++part) {
    session.map(part * per_part, part);
  }
  const auto made = session.opened.metadata->freeze();
  ASSERT_TRUE(made);
  EXPECT_FALSE(metadata.has_room_for(cache_block{0}));
  ASSERT_TRUE(session.write(*made));
  EXPECT_TRUE(metadata.has_room_for(cache_block{0}));
}

} // namespace
} // namespace dmcache
