#include "caching/metadata/state_search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "caching/metadata/testing/state_image.h"

namespace dmcache {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class state_search_test : public testing::Test {
 protected:
  static constexpr std::uint64_t device_blocks = 64;
  static constexpr std::uint64_t nr_mapped = 10;
  using blocks = state_image::blocks;

  static state_image::mapped mapped_from(std::uint64_t origin) {
    return state_image::mapped_from(origin, nr_mapped);
  }
  blocks add(const state_image::mapped &origins, const std::vector<std::uint64_t> &others = {}) {
    return states_.add(state_image::entries_of(origins), {}, others);
  }

  void search() {
    survey_ = survey_blocks(states_.image.device, states_.image.watcher);
    search_.emplace(states_.image.device, survey_, states_.image.watcher);
    verdict_ = search_->judge();
  }

  static std::string other_says(const blocks &other) {
    return fmt::format("the tree at block {}, of 100 cache blocks, says something else, and may be "
                       "newer",
                       other.mapping_root);
  }
  static std::string unclear(const blocks &state) {
    return fmt::format("the space map at block {} belongs to metadata that can't be made out, and "
                       "may be newer",
                       state.index);
  }

  metadata_block best_root() const { return search_->states().at(*verdict_.best).mapping_root; }

  state_image states_{device_blocks};
  block_survey survey_;
  std::optional<state_search> search_;
  state_search::verdict verdict_;
};

TEST_F(state_search_test, what_is_mapped_and_discarded_is_made_out) {
  const blocks only = states_.add(state_image::entries_of(mapped_from(50)),
                                  {0b100, 0, 0}); // no mapping is like that
  search();
  ASSERT_EQ(search_->states().size(), 1U);
  const metadata_state &state = search_->states().front();
  EXPECT_EQ(state.index.value(), only.index);
  EXPECT_EQ(state.mapping_root.value(), only.mapping_root);
  EXPECT_EQ(state.cache_blocks, state_image::cache_blocks);
  EXPECT_EQ(state.nr_mapped, nr_mapped);
  EXPECT_THAT(state.parts, ElementsAre(only.mappings));
  EXPECT_EQ(state.used, only.used);
  EXPECT_EQ(search_->discard_words_beside(state.mapping_root), 3U);
  EXPECT_EQ(verdict_.best, 0U);
  EXPECT_TRUE(verdict_.is_complete);
  EXPECT_THAT(verdict_.doubt, IsEmpty());
}

TEST_F(state_search_test, sizes_are_those_of_the_states_the_latest_first) {
  states_.add(state_image::entries_of(mapped_from(50), 90));
  add(mapped_from(50));
  add(mapped_from(50));
  search();
  EXPECT_THAT(search_->sizes(), ElementsAre(100, 90));
}

TEST_F(state_search_test, an_earlier_state_that_says_something_else_may_be_newer) {
  const blocks first = add(mapped_from(50));
  const blocks last = add(mapped_from(500));
  search();
  EXPECT_EQ(best_root().value(), last.mapping_root);
  EXPECT_THAT(verdict_.doubt, ElementsAre(other_says(first)));
}

TEST_F(state_search_test, what_stands_behind_the_last_entry_says_nothing) {
  const blocks first = add(mapped_from(50));
  add(mapped_from(50));
  constexpr std::size_t behind =
      sizeof(array_block_header) + state_image::cache_blocks * sizeof(le64);
  states_.image.set(first.mappings, behind, le64{state_image::entries_of({{0, 77}}).front()});
  states_.image.seal_block(array_block_type, first.mappings);
  search();
  EXPECT_THAT(verdict_.doubt, IsEmpty());
}

TEST_F(state_search_test, states_that_begin_with_a_new_cache_and_go_on_stand_in_order) {
  states_.add({});
  add(mapped_from(50));
  state_image::mapped one_more = mapped_from(50);
  one_more[nr_mapped] = 500;
  const blocks last = add(one_more);
  search();
  EXPECT_EQ(best_root().value(), last.mapping_root);
  EXPECT_THAT(verdict_.doubt, IsEmpty());
}

// Unmapped entries, which are the same in both, say nothing of that.
TEST_F(state_search_test, they_do_not_go_on_if_nothing_of_what_was_mapped_is_left) {
  states_.add({});
  const blocks middle = add(mapped_from(50));
  const blocks last = add(mapped_from(500));
  search();
  EXPECT_EQ(best_root().value(), last.mapping_root);
  EXPECT_THAT(verdict_.doubt, ElementsAre(other_says(middle)));
}

TEST_F(state_search_test, a_state_of_which_a_block_is_not_accounted_for_may_be_newer) {
  const blocks first = add(mapped_from(50));
  constexpr std::uint64_t stray = device_blocks - 1;
  states_.image.add_array_block(stray, {});
  const blocks last = add(mapped_from(500), {stray});
  search();
  EXPECT_EQ(best_root().value(), first.mapping_root);
  EXPECT_FALSE(verdict_.is_complete);
  EXPECT_THAT(verdict_.doubt, ElementsAre(unclear(last)));
}

TEST_F(state_search_test, a_state_whose_node_leads_to_a_later_ones_blocks_is_gone) {
  const blocks former = add(mapped_from(50));
  blocks later = add(mapped_from(500));
  // The later one's root stands where the former one's did.
  states_.image.add_leaf(former.mapping_root, {{0, later.mappings}});
  std::ranges::replace(later.used, later.mapping_root, former.mapping_root);
  states_.add_space_map(later.index - 1, later.index, later.used);
  search();
  EXPECT_EQ(best_root().value(), former.mapping_root);
  EXPECT_THAT(verdict_.doubt, IsEmpty());
}

TEST_F(state_search_test, a_space_map_that_counts_itself_as_free_is_gone) {
  add(mapped_from(50));
  blocks gone = add(mapped_from(500));
  std::erase(gone.used, gone.index);
  states_.add_space_map(gone.index - 1, gone.index, gone.used);
  search();
  EXPECT_THAT(verdict_.doubt, IsEmpty());
}

TEST_F(state_search_test, a_space_map_whose_bitmap_would_lie_beyond_the_end_is_gone) {
  add(mapped_from(50));
  states_.add_index(device_blocks - 1, device_blocks);
  search();
  EXPECT_THAT(verdict_.doubt, IsEmpty());
}

TEST_F(state_search_test, a_state_that_uses_blocks_beyond_the_end_is_unclear) {
  const blocks only = add(mapped_from(50), {device_blocks});
  search();
  EXPECT_FALSE(verdict_.best);
  EXPECT_THAT(verdict_.doubt, ElementsAre(unclear(only)));
}

} // namespace
} // namespace dmcache
