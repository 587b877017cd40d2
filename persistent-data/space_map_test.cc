#include "persistent-data/space_map.h"

#include <random>
#include <set>

#include <gtest/gtest.h>

namespace dmcache {
namespace {

using blocks = std::set<std::uint64_t>;

TEST(space_map_test, hands_out_every_block_once) {
  space_map map{100};
  blocks handed_out;
  while (const auto block = map.allocate()) {
    EXPECT_TRUE(handed_out.insert(block->value()).second);
    EXPECT_EQ(map.nr_available(), 100 - handed_out.size());
  }
  EXPECT_EQ(handed_out.size(), 100U);
}

TEST(space_map_test, what_is_released_is_available_again_only_after_the_commit) {
  space_map map{1};
  const auto block = map.allocate();
  map.freeze();
  map.commit();
  map.release(*block);
  EXPECT_FALSE(map.allocate()); // it is durable
  map.freeze();
  EXPECT_FALSE(map.allocate()); // it is still
  map.commit();
  EXPECT_EQ(map.allocate(), block);
}

TEST(space_map_test, what_is_new_is_available_as_soon_as_it_is_released) {
  space_map map{1};
  const auto block = map.allocate();
  EXPECT_TRUE(map.is_new(*block));
  map.release(*block);
  EXPECT_EQ(map.allocate(), block);
  map.freeze();
  EXPECT_FALSE(map.is_new(*block));
}

TEST(space_map_test, abort_goes_back_to_what_is_durable) {
  space_map map{10};
  const auto kept = map.allocate();
  map.freeze();
  map.commit();
  map.release(*kept);
  map.allocate();
  map.freeze();
  map.allocate();
  map.abort();
  EXPECT_TRUE(map.is_used(*kept));
  EXPECT_EQ(map.nr_available(), 9U);
}

TEST(space_map_test, agrees_with_a_model) {
  constexpr std::uint64_t nr_blocks = 300;
  std::mt19937_64 chance{4711};
  space_map map{nr_blocks};
  blocks now;
  blocks frozen;
  blocks durable;
  bool is_frozen = false;
  for (int step = 0; step < 20000; ++step) {
    switch (chance() % 100) {
    case 0:
      if (is_frozen) {
        map.commit();
        durable = frozen;
      } else {
        map.freeze();
        frozen = now;
      }
      is_frozen = !is_frozen;
      break;
    case 1:
      map.abort();
      now = frozen = durable;
      is_frozen = false;
      break;
    case 2:
      if (is_frozen) {
        map.thaw();
        frozen = durable;
        is_frozen = false;
      }
      break;
    default:
      if (chance() % 2 == 0 && !now.empty()) {
        const auto released = std::next(now.begin(), static_cast<long>(chance() % now.size()));
        map.release(metadata_block{*released});
        now.erase(released);
      } else if (const auto block = map.allocate()) {
        EXPECT_FALSE(frozen.contains(block->value()) || durable.contains(block->value()));
        EXPECT_TRUE(now.insert(block->value()).second);
        EXPECT_TRUE(map.is_new(*block));
      }
    }
    blocks taken = now;
    taken.insert(frozen.begin(), frozen.end());
    taken.insert(durable.begin(), durable.end());
    ASSERT_EQ(map.nr_available(), nr_blocks - taken.size());
  }
}

} // namespace
} // namespace dmcache
