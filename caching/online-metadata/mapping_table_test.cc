#include "caching/online-metadata/mapping_table.h"

#include <map>
#include <random>
#include <utility>

#include <gtest/gtest.h>

namespace dmcache {
namespace {

TEST(mapping_table_test, nothing_is_mapped_at_first) {
  const mapping_table table{10};
  EXPECT_EQ(table.nr_cache_blocks(), 10U);
  EXPECT_EQ(table.nr_mapped(), 0U);
  EXPECT_EQ(table.nr_dirty(), 0U);
  EXPECT_FALSE(table.find(origin_block{0}));
  EXPECT_FALSE(table.is_mapped(cache_block{0}));
}

TEST(mapping_table_test, finds_what_is_mapped_until_it_is_unmapped) {
  mapping_table table{10};
  const origin_block last{mapping_table::max_origin_blocks - 1};
  table.map(cache_block{7}, last);
  EXPECT_EQ(table.find(last), cache_block{7});
  EXPECT_EQ(table.origin_of(cache_block{7}), last);
  table.unmap(cache_block{7});
  EXPECT_FALSE(table.find(last));
  EXPECT_FALSE(table.is_mapped(cache_block{7}));
  table.map(cache_block{2}, last);
  EXPECT_EQ(table.find(last), cache_block{2});
}

TEST(mapping_table_test, tells_what_is_mapped_in_a_range_even_beyond_its_end) {
  mapping_table table{10};
  table.map(cache_block{2}, origin_block{30});
  table.map(cache_block{5}, origin_block{20});
  table.map(cache_block{9}, origin_block{10});
  const std::vector<origin_block> middle{origin_block{20}};
  EXPECT_EQ(table.mapped_in(cache_block{3}, cache_block{9}), middle);
  const std::vector<origin_block> rest{origin_block{20}, origin_block{10}};
  EXPECT_EQ(table.mapped_in(cache_block{3}, cache_block{100}), rest);
}

TEST(mapping_table_test, what_is_mapped_is_not_stored_suspect_or_unflushed_until_that_is_said) {
  mapping_table table{10};
  table.map(cache_block{7}, origin_block{3});
  EXPECT_FALSE(table.is_stored(cache_block{7}));
  EXPECT_FALSE(table.is_suspect(cache_block{7}));
  table.mark_suspect(cache_block{7});
  EXPECT_TRUE(table.is_suspect(cache_block{7}));
  EXPECT_EQ(table.find(origin_block{3}), cache_block{7});
  table.unmap(cache_block{7});
  table.map(cache_block{7}, origin_block{4});
  EXPECT_FALSE(table.is_suspect(cache_block{7}));
  table.mark_stored(cache_block{7});
  table.mark_unflushed(cache_block{7}, true);
  EXPECT_TRUE(table.is_stored(cache_block{7}));
  EXPECT_TRUE(table.is_unflushed(cache_block{7}));
  EXPECT_EQ(table.find(origin_block{4}), cache_block{7});
  table.mark_unflushed(cache_block{7}, false);
  EXPECT_FALSE(table.is_unflushed(cache_block{7}));
  EXPECT_DEATH(table.mark_suspect(cache_block{7}), "only what isn't stored yet can be held back");
}

TEST(mapping_table_test, dirty_or_settling_a_block_is_found_all_the_same) {
  mapping_table table{10};
  table.map(cache_block{7}, origin_block{3});
  table.mark_dirty(cache_block{7});
  EXPECT_EQ(table.find(origin_block{3}), cache_block{7});
  table.mark_settling(cache_block{7}, true);
  EXPECT_EQ(table.find(origin_block{3}), cache_block{7});
  EXPECT_EQ(table.origin_of(cache_block{7}), origin_block{3});
}

TEST(mapping_table_test, a_settling_block_is_dirty_until_it_is_clean) {
  mapping_table table{10};
  table.map(cache_block{1}, origin_block{3});
  table.mark_dirty(cache_block{1});
  table.mark_dirty(cache_block{1});
  EXPECT_EQ(table.nr_dirty(), 1U);
  table.mark_settling(cache_block{1}, true);
  EXPECT_TRUE(table.is_settling(cache_block{1}));
  EXPECT_TRUE(table.is_dirty(cache_block{1}));
  table.mark_settling(cache_block{1}, false);
  EXPECT_FALSE(table.is_settling(cache_block{1}));
  EXPECT_TRUE(table.is_dirty(cache_block{1}));
  table.mark_settling(cache_block{1}, true);
  table.mark_clean(cache_block{1});
  EXPECT_FALSE(table.is_settling(cache_block{1}));
  EXPECT_FALSE(table.is_dirty(cache_block{1}));
  EXPECT_EQ(table.nr_dirty(), 0U);
}

TEST(mapping_table_test, what_is_unmapped_is_not_dirty_any_more) {
  mapping_table table{10};
  table.map(cache_block{1}, origin_block{3});
  table.mark_dirty(cache_block{1});
  table.unmap(cache_block{1});
  EXPECT_EQ(table.nr_dirty(), 0U);
  table.map(cache_block{1}, origin_block{4});
  EXPECT_FALSE(table.is_dirty(cache_block{1}));
}

TEST(mapping_table_test, the_revision_tells_whether_anything_changed) {
  mapping_table table{10};
  std::uint64_t last = table.revision();
  const auto has_changed = [&] { return std::exchange(last, table.revision()) != last; };
  table.map(cache_block{1}, origin_block{3});
  EXPECT_TRUE(has_changed());
  table.mark_clean(cache_block{1}); // as it was
  EXPECT_FALSE(has_changed());
  table.mark_dirty(cache_block{1});
  EXPECT_TRUE(has_changed());
  table.mark_dirty(cache_block{1});
  table.mark_settling(cache_block{1}, true);
  EXPECT_FALSE(has_changed());
  table.mark_clean(cache_block{1});
  EXPECT_TRUE(has_changed());
  table.unmap(cache_block{1});
  EXPECT_TRUE(has_changed());
}

// Of the first origin blocks, those that a multiplication by the golden ratio, which is what one
// who makes such metadata might expect, puts into the first slots of the table.
TEST(mapping_table_test, is_fast_whatever_origin_blocks_the_metadata_name) {
  constexpr std::uint64_t nr_cache_blocks = std::uint64_t{1} << 20;
  constexpr std::uint64_t nr_slots = nr_cache_blocks + nr_cache_blocks / 2 + 1;
  constexpr std::uint64_t nr_mapped = 20000;
  mapping_table table{nr_cache_blocks};
  std::uint64_t origin = 0;
  while (table.nr_mapped() < nr_mapped) {
    const std::uint64_t golden = origin * 0x9e3779b97f4a7c15U;
    if ((golden >> 32) * nr_slots >> 32 < nr_slots / 1024) {
      table.map(cache_block{table.nr_mapped()}, origin_block{origin});
    }
    ++origin;
  }
  EXPECT_LT(table.longest_search(), 32U); // of 1,500 slots for 20,000 blocks, it would be 18,500
}

TEST(mapping_table_test, agrees_with_a_model) {
  struct block {
    std::uint64_t origin;
    bool dirty;
  };
  constexpr std::uint64_t nr_cache_blocks = 200;
  constexpr std::uint64_t nr_origin_blocks = 500; // few, so that they get into each other's way
  std::mt19937_64 chance{3};
  mapping_table table{nr_cache_blocks};
  std::map<std::uint64_t, block> by_cache;
  std::map<std::uint64_t, std::uint64_t> by_origin;
  for (int step = 0; step < 100000; ++step) {
    const std::uint64_t at = chance() % nr_cache_blocks;
    const std::uint64_t origin = (chance() % nr_origin_blocks) << 24;
    const auto found = by_cache.find(at);
    if (found == by_cache.end()) {
      if (!by_origin.contains(origin)) {
        table.map(cache_block{at}, origin_block{origin});
        by_cache[at] = {origin, false};
        by_origin[origin] = at;
      }
    } else if (chance() % 3 == 0) {
      table.unmap(cache_block{at});
      by_origin.erase(found->second.origin);
      by_cache.erase(found);
    } else {
      found->second.dirty = !found->second.dirty;
      found->second.dirty ? table.mark_dirty(cache_block{at}) : table.mark_clean(cache_block{at});
    }
    const auto wanted = by_origin.find(origin);
    ASSERT_EQ(table.find(origin_block{origin}), wanted == by_origin.end()
                                                    ? std::nullopt
                                                    : std::optional{cache_block{wanted->second}});
    ASSERT_EQ(table.nr_mapped(), by_cache.size());
  }
  std::uint64_t nr_dirty = 0;
  for (const auto &[at, its] : by_cache) {
    EXPECT_EQ(table.origin_of(cache_block{at}), origin_block{its.origin});
    EXPECT_EQ(table.is_dirty(cache_block{at}), its.dirty);
    nr_dirty += its.dirty ? 1U : 0U;
  }
  EXPECT_EQ(table.nr_dirty(), nr_dirty);
}

TEST(mapping_table_death_test, a_cache_block_is_not_mapped_twice) {
  mapping_table table{10};
  table.map(cache_block{1}, origin_block{3});
  EXPECT_DEATH(table.map(cache_block{1}, origin_block{4}), "a cache block holds one origin block");
  EXPECT_DEATH(table.unmap(cache_block{2}), "only what is mapped can be unmapped");
}

} // namespace
} // namespace dmcache
