// What becomes of cached blocks that are discarded (caching/engine/engine.md, 7).
#include "base/testing/matchers.h"
#include "caching/simulation/cache_test.h"

namespace dmcache {
namespace {

class discard_test : public cache_test {
 protected:
  std::error_code discard(sector_range where) {
    const std::error_code outcome = in->perform(operation::discard, where);
    EXPECT_TRUE(in->settle());
    return outcome;
  }
  std::uint64_t nr_written_to_origin() { return nr_ios(cache_device::origin, operation::write); }
  // Copied to the origin, which isn't flushed yet.
  void let_settle(std::uint64_t block) {
    const cache_block cached_in = *state().mappings->find(origin_block{block});
    policy->write_back(cached_in.value());
    while (!state().mappings->is_settling(cached_in)) {
      ASSERT_TRUE(in->step());
    }
  }
};

TEST_F(discard_test, what_is_dirty_of_a_discarded_block_is_not_written_back) {
  open();
  make_dirty(2);
  make_dirty(3);
  const std::uint64_t before = nr_written_to_origin();
  EXPECT_THAT(discard(whole(2)), succeeds());
  EXPECT_FALSE(is_cached(2));
  EXPECT_EQ(nr_dirty(), 1U);
  EXPECT_TRUE(is_cached(3));
  EXPECT_EQ(nr_ios(cache_device::origin, operation::discard), 1U);
  EXPECT_EQ(nr_written_to_origin(), before);
}

TEST_F(discard_test, a_dirty_block_that_is_discarded_in_part_stays_as_it_is) {
  open();
  make_dirty(2);
  EXPECT_THAT(discard({2 * block_size, 3 * block_size - 1}), succeeds());
  EXPECT_TRUE(is_cached(2));
  EXPECT_EQ(nr_dirty(), 1U);
  EXPECT_EQ(nr_ios(cache_device::origin, operation::discard), 0U);
}

TEST_F(discard_test, a_dirty_block_that_is_discarded_does_not_come_back_after_a_power_cut) {
  open();
  make_dirty(2);
  EXPECT_THAT(in->flush(), succeeds());
  EXPECT_THAT(discard(whole(2)), succeeds());
  policy->promotes = false;
  EXPECT_THAT(in->write(part(2)), succeeds());
  EXPECT_THAT(in->flush(), succeeds());
  in->cut_power();
  EXPECT_FALSE(is_mapped_on_media(2));
  open();
  EXPECT_THAT(in->read(part(2)), succeeds()); // what was written last, or else the world objects
}

TEST_F(discard_test, a_block_that_settles_can_be_discarded) {
  open();
  make_dirty(2);
  let_settle(2);
  EXPECT_THAT(discard(whole(2)), succeeds());
  EXPECT_FALSE(is_cached(2));
  EXPECT_EQ(nr_dirty(), 0U);
  EXPECT_EQ(in->engine().counts().writebacks, 0U);
  cache(4); // in the same cache block
  shut_down();
}

TEST_F(discard_test, a_discarded_block_stays_dirty_if_its_mapping_cannot_be_removed) {
  open();
  make_dirty(2);
  EXPECT_THAT(in->flush(), succeeds());
  in->device(cache_device::metadata)
      .add_fault({.op = simulated_device::operation::write, .at_most = 1});
  EXPECT_THAT(discard(whole(2)), succeeds());
  EXPECT_EQ(state().mode_of_metadata, metadata_mode::read_only);
  EXPECT_TRUE(is_cached(2));
  EXPECT_EQ(nr_dirty(), 1U);
  EXPECT_THAT(in->clean(), succeeds());
}

} // namespace
} // namespace dmcache
