#include "caching/metadata/root_search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "caching/metadata/testing/state_image.h"

namespace dmcache {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

constexpr std::uint32_t cache_blocks = 100;
constexpr std::uint64_t array_block = 1;
constexpr std::uint64_t first_root = 2;

class root_search_test : public testing::Test {
 protected:
  root_search_test() : mappings_(cache_blocks) { map(0, 50); }

  void map(std::uint64_t cached_in, std::uint64_t origin) {
    mappings_[cached_in] = mapping_entry{origin_block{origin}, mapping_entry::valid}.encode();
  }

  // Looks for trees where there are so many, which all lead to the same mappings.
  void search(std::uint64_t nr_trees) {
    image_.add_array_block(array_block, mappings_);
    for (std::uint64_t i = 0; i < nr_trees; ++i) {
      image_.add_leaf(first_root + i, {{0, array_block}});
    }
    survey_ = survey_blocks(image_.device, image_.watcher);
    search_.emplace(image_.device, survey_, cache_blocks, image_.watcher);
    state_search states{image_.device, survey_, image_.watcher};
    choice_ = search_->choose(states);
  }

  image_builder image_{1100};
  std::vector<std::uint64_t> mappings_;
  block_survey survey_;
  std::optional<root_search> search_;
  std::optional<root_search::choice> choice_;
};

constexpr const char *too_many = "there are too many trees to compare all of them";

TEST_F(root_search_test, where_there_are_too_many_trees_the_choice_is_in_doubt) {
  search(1025);
  EXPECT_THAT(search_->candidates(), SizeIs(1024));
  ASSERT_TRUE(choice_);
  EXPECT_THAT(choice_->doubt, Contains(too_many));
}

TEST_F(root_search_test, a_few_trees_are_not_too_many) {
  search(3);
  EXPECT_THAT(search_->candidates(), SizeIs(3));
  ASSERT_TRUE(choice_);
  EXPECT_THAT(choice_->doubt, Not(Contains(too_many)));
}

TEST_F(root_search_test, a_tree_that_contradicts_itself_is_none) {
  map(1, 50);
  search(1);
  EXPECT_THAT(search_->candidates(), IsEmpty());
  EXPECT_FALSE(choice_);
}

class tree_choice_test : public testing::Test {
 protected:
  static constexpr const char *no_state = "no space map accounts for a whole cache";

  void choose(std::uint32_t nr_cache_blocks = state_image::cache_blocks) {
    survey_ = survey_blocks(image().device, image().watcher);
    search_.emplace(image().device, survey_, nr_cache_blocks, image().watcher);
    state_search states{image().device, survey_, image().watcher};
    choice_ = search_->choose(states);
  }

  image_builder &image() { return states_.image; }
  std::uint64_t best_root() const { return search_->candidates().at(choice_->best).root.value(); }

  state_image states_{40};
  block_survey survey_;
  std::optional<root_search> search_;
  std::optional<root_search::choice> choice_;
};

TEST_F(tree_choice_test, trees_that_say_the_same_leave_no_doubt_of_each_other) {
  image().add_array(1, state_image::entries_of({{0, 50}, {1, 51}}));
  image().add_array(3, state_image::entries_of({{0, 50}, {1, 51}}));
  choose();
  ASSERT_TRUE(choice_);
  EXPECT_EQ(best_root(), 3U);
  EXPECT_THAT(choice_->doubt, ElementsAre(no_state));
}

TEST_F(tree_choice_test, a_tree_that_differs_in_one_mapping_may_be_newer) {
  for (const state_image::mapped &other : std::initializer_list<state_image::mapped>{
           {{0, 50}}, {{0, 50}, {1, 52}}, {{0, 50}, {1, 51}, {2, 52}}}) {
    image().add_array(1, state_image::entries_of(other));
    image().add_array(3, state_image::entries_of({{0, 50}, {1, 51}}));
    choose();
    ASSERT_TRUE(choice_);
    EXPECT_EQ(best_root(), 3U);
    EXPECT_THAT(choice_->doubt,
                ElementsAre(no_state, "the tree at block 1 says something else, and may be newer"));
  }
}

TEST_F(tree_choice_test, of_trees_that_say_the_same_the_one_that_has_lost_less_is_taken) {
  constexpr std::uint32_t nr_cache_blocks = 3 * array_max_entries(sizeof(le64));
  const auto entries = state_image::entries_of({{0, 50}, {1, 51}}, nr_cache_blocks);
  image().add_array(1, entries);
  image().add_array(5, entries);
  image().block(8)[0] ^= std::byte{1}; // the last third of the later one
  choose(nr_cache_blocks);
  ASSERT_TRUE(choice_);
  EXPECT_EQ(best_root(), 1U);
}

TEST_F(tree_choice_test, none_is_taken_where_a_space_map_accounts_for_a_cache_of_another_size) {
  states_.add(state_image::entries_of({{0, 50}}, state_image::cache_blocks + 20));
  image().add_array(30, state_image::entries_of({{0, 50}}));
  choose();
  EXPECT_FALSE(choice_);
}

TEST_F(tree_choice_test, what_a_space_map_counts_must_be_a_tree_that_is_found) {
  constexpr const char *not_found = "the space map at block 6 belongs to a mapping tree that can't "
                                    "be found, and may be newer";
  image().add_array(1, state_image::entries_of({{0, 50}}));
  states_.add_space_map(5, 6, {0, 5, 6});
  choose();
  ASSERT_TRUE(choice_);
  EXPECT_THAT(choice_->doubt, Contains(not_found));
  states_.add_space_map(5, 6, {0, 1, 2, 5, 6});
  choose();
  ASSERT_TRUE(choice_);
  EXPECT_THAT(choice_->doubt, Not(Contains(not_found)));
}

} // namespace
} // namespace dmcache
