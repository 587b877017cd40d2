#include "caching/engine/metadata_session.h"

namespace dmcache {
namespace {

constexpr std::uint64_t device_blocks = 200;

class online_metadata_test : public testing::TestWithParam<std::uint32_t> {
 protected:
  online_metadata::open_options options(std::uint64_t nr_cache_blocks = 1000) const {
    auto made = devices(nr_cache_blocks);
    made.format_version = GetParam();
    return made;
  }

  memory_device on_{bytes{device_blocks * metadata_block_size}};
};

INSTANTIATE_TEST_SUITE_P(versions, online_metadata_test, testing::Values(1, 2));

TEST_P(online_metadata_test, formats_a_device_that_holds_nothing) {
  metadata_session session{on_, options()};
  EXPECT_TRUE(session.opened.was_formatted);
  EXPECT_TRUE(session.opened.was_clean);
  EXPECT_EQ(session.opened.metadata->version(), GetParam());
  const stored_metadata stored{on_};
  EXPECT_EQ(stored.damage, "");
  EXPECT_EQ(stored.block.version, GetParam());
  EXPECT_EQ(stored.block.cache_blocks, 1000U);
  EXPECT_EQ(stored.block.data_block_size, 128U);
  EXPECT_EQ(stored.block.flags, 0U);
  EXPECT_TRUE(stored.mapped.empty());
}

TEST_P(online_metadata_test, a_commit_holds_what_was_mapped) {
  metadata_session session{on_, options()};
  session.map(3, 17);
  session.map(999, 4);
  session.mark_dirty(999);
  EXPECT_TRUE(session.opened.metadata->has_changes());
  ASSERT_TRUE(session.commit());
  EXPECT_FALSE(session.opened.metadata->has_changes());
  const stored_metadata stored{on_};
  EXPECT_EQ(stored.damage, "");
  EXPECT_FALSE(stored.block.is_clean());
  EXPECT_EQ(stored.mapped, (metadata_session::mapping_map{{3, {17, true}}, {999, {4, true}}}));
}

TEST_P(online_metadata_test, a_clean_shutdown_keeps_everything) {
  metadata_session::mapping_map before;
  {
    metadata_session session{on_, options()};
    session.map(3, 17);
    session.map(999, 4);
    session.mark_dirty(999);
    session.opened.discards->set(5);
    session.opened.statistics = {1, 2, 3, 4};
    before = session.mappings();
    EXPECT_EQ(session.shut_down(), 1U);
  }
  const stored_metadata stored{on_};
  EXPECT_EQ(stored.damage, "");
  EXPECT_TRUE(stored.block.is_clean());
  EXPECT_EQ(stored.mapped, before);
  const metadata_session session{on_, options()};
  EXPECT_TRUE(session.opened.was_clean);
  EXPECT_EQ(session.mappings(), before);
  EXPECT_TRUE(session.opened.discards->test(5));
  ASSERT_TRUE(session.opened.hints);
  EXPECT_EQ((*session.opened.hints)[999], metadata_session::hint_of(cache_block{999}));
  EXPECT_EQ(session.opened.policy, "smq");
  EXPECT_EQ(session.opened.statistics.write_misses, 4U);
  EXPECT_FALSE(stored_metadata{on_}.block.is_clean());
}

} // namespace
} // namespace dmcache
