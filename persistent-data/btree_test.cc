#include "persistent-data/btree.h"

#include <map>
#include <random>

#include "base/testing/matchers.h"
#include "persistent-data/btree_node.h"
#include "persistent-data/testing/memory_store.h"

namespace dmcache {
namespace {

using model = std::map<std::uint64_t, std::uint64_t>;

// Every node but the root is a third full at least, as older checkers demand.
void expect_full_enough(transaction_manager &in, metadata_block where, bool is_root) {
  const auto block = value_of(in.read(btree_node_type, where));
  const btree_node node{block.data()};
  EXPECT_TRUE(is_root || node.size() >= node.max_size() / 3) << node.size();
  for (std::size_t i = 0; !node.is_leaf() && i < node.size(); ++i) {
    expect_full_enough(in, metadata_block{node.value(i)}, false);
  }
}

model contents_of(memory_store &store, std::size_t value_size) {
  model found;
  for (const btree_contents::entry &each : store.sound_tree(value_size).entries) {
    found.emplace(each.key, each.value);
  }
  return found;
}

class btree_test : public testing::TestWithParam<std::size_t> {
 protected:
  btree_test() { memory_store::format(device_, GetParam()); }

  memory_device device_{bytes{2000 * metadata_block_size}};
};

INSTANTIATE_TEST_SUITE_P(value_sizes, btree_test, testing::Values(4, 8));

TEST_P(btree_test, agrees_with_a_model) {
  std::mt19937_64 chance{GetParam()};
  memory_store store{device_};
  btree tree{*store.transactions, GetParam()};
  model expected;
  metadata_block root = store.root();
  for (int round = 0; round < 60; ++round) {
    const bool grows = round % 20 < 12; // and then shrinks to almost nothing
    for (int step = 0; step < 3000; ++step) {
      const std::uint64_t key = chance() % 30000;
      if (chance() % 8 == 0) {
        const auto at = expected.find(key);
        EXPECT_EQ(value_of(tree.find(root, key)),
                  at == expected.end() ? std::nullopt : std::optional{at->second});
      } else if (chance() % 4 == 0 ? !grows : grows) {
        const std::uint64_t value = chance() % 0x100000000;
        root = value_of(tree.insert(root, key, value));
        expected[key] = value;
      } else if (const auto at = expected.lower_bound(key); at != expected.end()) {
        root = value_of(tree.remove(root, at->first));
        expected.erase(at);
      }
    }
    EXPECT_EQ(value_of(tree.last_key(root)),
              expected.empty() ? std::nullopt : std::optional{expected.rbegin()->first});
    ASSERT_THAT(store.commit(root, 0), succeeds());
    ASSERT_EQ(contents_of(store, GetParam()), expected);
    expect_full_enough(*store.transactions, root, true);
  }
}

TEST_P(btree_test, grows_and_shrinks_at_its_end) {
  memory_store store{device_};
  btree tree{*store.transactions, GetParam()};
  metadata_block root = store.root();
  model expected;
  for (std::uint64_t key = 0; key < 20000; ++key) {
    root = value_of(tree.insert(root, key, key + 1));
    expected[key] = key + 1;
  }
  ASSERT_THAT(store.commit(root, 0), succeeds());
  ASSERT_EQ(contents_of(store, GetParam()), expected);
  while (!expected.empty()) {
    root = value_of(tree.remove(root, expected.rbegin()->first));
    expected.erase(std::prev(expected.end()));
  }
  ASSERT_THAT(store.commit(root, 0), succeeds());
  ASSERT_EQ(contents_of(store, GetParam()), expected);
}

TEST_P(btree_test, a_key_that_is_not_there_can_t_be_removed) {
  memory_store store{device_};
  EXPECT_THAT((btree{*store.transactions, GetParam()}.remove(store.root(), 1)),
              fails_with(failure::failed));
}

TEST_P(btree_test, destroy_releases_all) {
  memory_store store{device_};
  btree tree{*store.transactions, GetParam()};
  metadata_block root = store.root();
  for (std::uint64_t key = 0; key < 5000; ++key) {
    root = value_of(tree.insert(root, key, key));
  }
  ASSERT_THAT(store.commit(root, 0), succeeds());
  ASSERT_THAT(tree.destroy(root), succeeds());
  ASSERT_THAT(store.commit(value_of(tree.create()), 0), succeeds());
  EXPECT_TRUE(contents_of(store, GetParam()).empty());
}

TEST_P(btree_test, visits_all_in_order) {
  memory_store store{device_};
  btree tree{*store.transactions, GetParam()};
  metadata_block root = store.root();
  std::vector<std::pair<std::uint64_t, std::uint64_t>> expected;
  for (std::uint64_t key = 0; key < 5000; ++key) {
    root = value_of(tree.insert(root, key * 3, key));
    expected.emplace_back(key * 3, key);
  }
  decltype(expected) found;
  ASSERT_THAT(tree.visit(root, [&](std::uint64_t key,
                                   std::uint64_t value) { found.emplace_back(key, value); }),
              succeeds());
  EXPECT_EQ(found, expected);
}

TEST_P(btree_test, a_loop_ends) {
  memory_store store{device_};
  const auto block = value_of(store.transactions->add(btree_node_type));
  writable_btree_node node{block.data()};
  node.clear(btree_node_header::internal, 8);
  node.append(0, block.where().value());
  btree tree{*store.transactions, GetParam()};
  EXPECT_THAT(tree.find(block.where(), 1), fails_with(failure::failed));
  EXPECT_THAT(tree.insert(block.where(), 1, 1), fails_with(failure::failed));
  EXPECT_THAT(tree.remove(block.where(), 1), fails_with(failure::failed));
  EXPECT_THAT(tree.visit(block.where(), [](std::uint64_t /*key*/, std::uint64_t /*value*/) {}),
              fails_with(failure::failed));
}

} // namespace
} // namespace dmcache
