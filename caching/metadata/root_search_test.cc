#include "caching/metadata/root_search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "caching/metadata/mapping_format.h"
#include "persistent-data/testing/image_builder.h"

namespace dmcache {
namespace {

using testing::Contains;
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

} // namespace
} // namespace dmcache
