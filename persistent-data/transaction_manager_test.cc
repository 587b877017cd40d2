#include "persistent-data/transaction_manager.h"

#include <map>
#include <random>

#include <fmt/format.h>

#include "base/testing/faulty_device.h"
#include "base/testing/matchers.h"
#include "base/testing/simulated_device.h"
#include "persistent-data/testing/memory_store.h"

namespace dmcache {
namespace {

using model = std::map<std::uint64_t, std::uint64_t>;

std::vector<std::byte> formatted() {
  memory_device on{bytes{500 * metadata_block_size}};
  memory_store::format(on, sizeof(le64));
  const auto contents = on.contents();
  return {contents.begin(), contents.end()};
}

model contents_of(memory_store &store) {
  model found;
  for (const btree_contents::entry &each : store.sound_tree(sizeof(le64)).entries) {
    found.emplace(each.key, each.value);
  }
  return found;
}

model contents_of(std::vector<std::byte> image) {
  memory_device on{std::move(image)};
  memory_store store{on};
  return contents_of(store);
}

// Random changes of a tree, the same for the same seed.
struct changes {
  std::uint64_t seed;

  void apply_to(model &expected) const {
    std::mt19937_64 chance{seed};
    for (int i = 0; i < 400; ++i) {
      const std::uint64_t key = chance() % 3000;
      if (chance() % 3 == 0) {
        expected.erase(key);
      } else {
        expected[key] = chance();
      }
    }
  }

  // Changes the store's tree, which holds what is `expected`.
  result<metadata_block> apply_to(memory_store &store, const model &expected) const {
    btree tree{*store.transactions, sizeof(le64)};
    model after = expected;
    apply_to(after);
    result<metadata_block> root = store.root();
    for (const auto &[key, value] : expected) {
      if (root && !after.contains(key)) {
        root = tree.remove(*root, key);
      }
    }
    for (const auto &[key, value] : after) {
      if (root) {
        root = tree.insert(*root, key, value);
      }
    }
    return root;
  }
};

result<> change_and_commit(memory_store &store, const changes &change, const model &before) {
  const auto root = change.apply_to(store, before);
  return root ? store.commit(*root, 0) : std::unexpected{root.error()};
}

class transaction_manager_test : public testing::Test {
 protected:
  transaction_manager_test() {
    memory_device on{formatted()};
    memory_store store{on};
    changes{1}.apply_to(before_);
    EXPECT_THAT(change_and_commit(store, {1}, {}), succeeds());
    const model middle = before_;
    changes{2}.apply_to(before_);
    EXPECT_THAT(change_and_commit(store, {2}, middle), succeeds());
    image_.assign(on.contents().begin(), on.contents().end());
    after_ = before_;
    changes_.apply_to(after_);
  }

  // How many writes and flushes changes_ takes.
  std::uint64_t nr_changes() {
    simulated_device on{image_};
    memory_store store{on};
    EXPECT_THAT(change_and_commit(store, changes_, before_), succeeds());
    EXPECT_EQ(contents_of(store), after_);
    return on.nr_changes();
  }

  const changes changes_{3};
  std::vector<std::byte> image_;
  model before_;
  model after_;
};

TEST_F(transaction_manager_test, a_power_cut_leaves_the_old_state_or_the_new_one) {
  const std::uint64_t nr = nr_changes();
  ASSERT_GT(nr, 5U);
  bool saw_old = false;
  bool saw_new = false;
  for (std::uint64_t cut = 0; cut <= nr; ++cut) {
    for (std::uint64_t trial = 0; trial < 8; ++trial) {
      simulated_device on{image_, trial};
      on.cut_power_at(cut);
      memory_store store{on};
      const bool is_committed = change_and_commit(store, changes_, before_).has_value();
      EXPECT_EQ(is_committed, cut >= nr);
      const model found = contents_of(on.after_power_cut());
      ASSERT_TRUE(found == before_ || found == after_) << cut;
      EXPECT_TRUE(!is_committed || found == after_);
      saw_old = saw_old || found == before_;
      saw_new = saw_new || (found == after_ && cut < nr);
    }
  }
  EXPECT_TRUE(saw_old);
  EXPECT_TRUE(saw_new); // the superblock can be there though its flush failed
}

TEST_F(transaction_manager_test, after_a_failed_write_the_old_state_is_in_force) {
  const std::uint64_t nr = nr_changes();
  for (std::uint64_t bad = 0; bad + 2 < nr; ++bad) { // the superblock's write and flush apart
    simulated_device on{image_};
    on.fail_at(bad);
    memory_store store{on};
    EXPECT_THAT(change_and_commit(store, changes_, before_), fails_with(failure::environment))
        << bad;
    ASSERT_EQ(contents_of(on.after_power_cut()), before_) << bad;
    store.transactions->abort();
    EXPECT_EQ(contents_of(store), before_) << bad;
    EXPECT_THAT(change_and_commit(store, changes_, before_), succeeds()); // now it works
    EXPECT_EQ(contents_of(on.after_power_cut()), after_) << bad;
  }
}

TEST_F(transaction_manager_test, after_a_failed_superblock_one_of_the_two_states_is_in_force) {
  const std::uint64_t nr = nr_changes();
  for (std::uint64_t bad = nr - 2; bad < nr; ++bad) { // its write, and the flush after it
    bool saw_old = false;
    bool saw_new = false;
    for (std::uint64_t trial = 0; trial < 50; ++trial) {
      simulated_device on{image_, trial};
      on.fail_at(bad);
      memory_store store{on};
      EXPECT_THAT(change_and_commit(store, changes_, before_), fails_with(failure::environment))
          << bad;
      const model found = contents_of(on.after_power_cut());
      ASSERT_TRUE(found == before_ || found == after_) << bad;
      saw_old = saw_old || found == before_;
      saw_new = saw_new || found == after_;
    }
    EXPECT_TRUE(saw_old) << bad;
    EXPECT_TRUE(saw_new) << bad; // it may have got there all the same
  }
}

TEST_F(transaction_manager_test, after_a_failed_read_abort_takes_everything_back) {
  std::uint64_t nr_failed = 0;
  for (std::uint64_t bad = 0;; ++bad) {
    simulated_device on{image_};
    memory_store store{on};
    on.fail_read_at(on.nr_reads() + bad);
    if (change_and_commit(store, changes_, before_)) {
      break; // it takes no more reads than that
    }
    ++nr_failed;
    EXPECT_EQ(contents_of(store), before_) << bad;
    store.transactions->abort();
    EXPECT_THAT(change_and_commit(store, changes_, before_), succeeds()) << bad;
    EXPECT_EQ(contents_of(store), after_) << bad;
  }
  EXPECT_GT(nr_failed, 1U);
}

TEST_F(transaction_manager_test, abort_takes_everything_back) {
  memory_device on{image_};
  memory_store store{on};
  const std::uint64_t available = store.transactions->nr_available();
  ASSERT_THAT(changes_.apply_to(store, before_), succeeds());
  store.transactions->abort();
  EXPECT_EQ(store.transactions->nr_available(), available);
  ASSERT_THAT(change_and_commit(store, changes_, before_), succeeds());
  EXPECT_EQ(contents_of(store), after_);
}

TEST_F(transaction_manager_test, nothing_is_left_to_write_after_an_abort) {
  simulated_device on{image_};
  memory_store store{on};
  ASSERT_THAT(changes_.apply_to(store, before_), succeeds());
  store.transactions->abort();
  ASSERT_THAT(store.commit(store.root(), 0), succeeds());
  EXPECT_EQ(on.nr_changes(), 3U); // flush, write, flush
}

TEST_F(transaction_manager_test, a_transaction_on_its_way_is_not_changed_by_the_next_one) {
  memory_device on{image_};
  memory_store store{on};
  const metadata_block root = value_of(changes_.apply_to(store, before_));
  const auto on_its_way = value_of(store.transactions->freeze());
  std::vector<std::vector<std::byte>> frozen;
  frozen.reserve(on_its_way.writes.size());
  for (const auto &each : on_its_way.writes) {
    frozen.emplace_back(each.data.begin(), each.data.end());
  }
  btree tree{*store.transactions, sizeof(le64)};
  metadata_block next = root;
  for (std::uint64_t key = 0; key < 3000; ++key) {
    next = value_of(tree.insert(next, key, 1));
  }
  for (std::size_t i = 0; i < frozen.size(); ++i) {
    EXPECT_TRUE(std::ranges::equal(on_its_way.writes[i].data, frozen[i]));
  }
  for (const auto &each : on_its_way.writes) {
    EXPECT_FALSE(
        transfer_and_wait(on, io_request::operation::write, offset_of(each.where), each.data));
  }
  ASSERT_THAT(store.write_superblock(on_its_way.root, root, 0), succeeds());
  store.transactions->committed();
  EXPECT_EQ(contents_of(store), after_);
  ASSERT_THAT(store.commit(next, 0), succeeds());
  EXPECT_EQ(contents_of(store).size(), 3000U);
}

TEST_F(transaction_manager_test, a_thawed_transaction_is_a_part_of_the_next_one) {
  memory_device on{image_};
  memory_store store{on};
  const metadata_block root = value_of(changes_.apply_to(store, before_));
  ASSERT_THAT(store.transactions->freeze(), succeeds());
  btree tree{*store.transactions, sizeof(le64)};
  metadata_block next = root;
  for (std::uint64_t key = 1000; key < 2000; ++key) { // some of it is changed once more
    next = value_of(tree.insert(next, key, key));
  }
  store.transactions->thaw();
  model expected = after_;
  for (std::uint64_t key = 1000; key < 2000; ++key) {
    expected[key] = key;
  }
  ASSERT_THAT(store.commit(next, 0), succeeds());
  EXPECT_EQ(contents_of(store), expected);
  EXPECT_EQ(contents_of({on.contents().begin(), on.contents().end()}), expected);
}

TEST_F(transaction_manager_test, nothing_committed_is_overwritten) {
  memory_device on{image_};
  memory_store store{on};
  block_usage used{on.size()};
  collected_damage sink;
  progress watcher{true};
  const walk_context context{on, used, sink, watcher};
  walk_btree(context, {.root = store.root(),
                       .value_size = sizeof(le64),
                       .key_limit = ~std::uint64_t{0},
                       .kind = {structure::mappings, true},
                       .lost_limit = 1});
  ASSERT_THAT(changes_.apply_to(store, before_), succeeds());
  for (const auto &each : value_of(store.transactions->freeze()).writes) {
    EXPECT_FALSE(used.is_used(each.where.value()));
  }
}

TEST_F(transaction_manager_test, nothing_committed_is_overwritten_after_a_thaw) {
  memory_device on{image_};
  memory_store store{on};
  const metadata_block committed = value_of(store.transactions->add(array_block_type)).where();
  ASSERT_THAT(change_and_commit(store, changes_, before_), succeeds());
  ASSERT_THAT((changes{4}.apply_to(store, after_)), succeeds());
  ASSERT_THAT(store.transactions->freeze(), succeeds());
  store.transactions->thaw();
  const auto again = value_of(store.transactions->freeze());
  EXPECT_EQ(std::ranges::count(again.writes, committed, &transaction_manager::frozen::block::where),
            0);
}

TEST_F(transaction_manager_test, a_commit_without_changes_writes_only_the_superblock) {
  simulated_device on{image_};
  memory_store store{on};
  ASSERT_THAT(store.commit(store.root(), 0), succeeds());
  EXPECT_EQ(on.nr_changes(), 3U); // flush, write, flush
  EXPECT_EQ(contents_of(store), before_);
}

TEST_F(transaction_manager_test, what_was_committed_is_not_written_again) {
  simulated_device on{image_};
  memory_store store{on};
  ASSERT_THAT(change_and_commit(store, changes_, before_), succeeds());
  const std::uint64_t nr_before = on.nr_changes();
  ASSERT_THAT(store.commit(store.root(), 0), succeeds());
  EXPECT_EQ(on.nr_changes() - nr_before, 3U); // flush, write, flush
}

TEST_F(transaction_manager_test, what_was_added_and_released_is_not_written) {
  memory_device on{image_};
  memory_store store{on};
  std::vector<metadata_block> added(8);
  for (metadata_block &each : added) {
    each = value_of(store.transactions->add(btree_node_type)).where();
  }
  for (const metadata_block each : added) {
    store.transactions->release(each);
  }
  EXPECT_THAT(value_of(store.transactions->freeze()).writes, testing::SizeIs(2)); // the space map
}

TEST_F(transaction_manager_test, one_transaction_is_on_its_way_at_a_time) {
  memory_device on{image_};
  memory_store store{on};
  ASSERT_THAT(store.transactions->freeze(), succeeds());
  EXPECT_DEATH(static_cast<void>(store.transactions->freeze()), "on its way at a time");
}

TEST_F(transaction_manager_test, abort_goes_back_to_what_was_committed_last) {
  memory_device on{image_};
  memory_store store{on};
  ASSERT_THAT(change_and_commit(store, changes_, before_), succeeds());
  const changes given_up{4};
  ASSERT_THAT(given_up.apply_to(store, after_), succeeds());
  store.transactions->abort();
  ASSERT_THAT(change_and_commit(store, {5}, after_), succeeds());
  changes{5}.apply_to(after_);
  EXPECT_EQ(contents_of(store), after_);
}

TEST_F(transaction_manager_test, a_full_device_is_an_error_that_abort_cures) {
  memory_device on{image_};
  memory_store store{on};
  btree tree{*store.transactions, sizeof(le64)};
  result<metadata_block> root = store.root();
  for (std::uint64_t key = 0; root && key < 1000000; ++key) {
    root = tree.insert(*root, key, 1);
  }
  EXPECT_THAT(root, fails_with(failure::failed, testing::HasSubstr("full")));
  store.transactions->abort();
  EXPECT_THAT(change_and_commit(store, changes_, before_), succeeds());
  EXPECT_EQ(contents_of(store), after_);
}

TEST_F(transaction_manager_test, tree_nodes_are_read_once) {
  memory_device whole{image_};
  faulty_device on{whole};
  memory_store store{on};
  ASSERT_THAT((btree{*store.transactions, sizeof(le64)}.visit(
                  store.root(), [](std::uint64_t /*key*/, std::uint64_t /*value*/) {})),
              succeeds());
  on.fail_reads(bytes{0}, whole.size());
  ASSERT_THAT(change_and_commit(store, changes_, before_), succeeds());
  ASSERT_THAT(change_and_commit(store, {4}, after_), succeeds()); // of nodes that were only written
  changes{4}.apply_to(after_);
  EXPECT_EQ(contents_of({whole.contents().begin(), whole.contents().end()}), after_);
}

TEST_F(transaction_manager_test, damage_is_an_error) {
  memory_device on{image_};
  on.contents()[memory_store{on}.root().value() * metadata_block_size + 100] ^= std::byte{1};
  memory_store store{on};
  const auto found = btree{*store.transactions, sizeof(le64)}.find(store.root(), 1);
  EXPECT_THAT(found, fails_with(failure::failed, testing::HasSubstr("bad checksum")));
}

TEST(transaction_manager, a_block_beyond_the_end_is_an_error) {
  for (const std::uint64_t nr_blocks :
       {500U, 512U}) { // within a word of the space map, and at its end
    memory_device on{bytes{nr_blocks * metadata_block_size}};
    memory_store::format(on, sizeof(le64));
    memory_store store{on};
    EXPECT_THAT(store.transactions->read(btree_node_type, metadata_block{nr_blocks}),
                fails_with(failure::failed,
                           fmt::format("block {0} is beyond the {0} of the metadata", nr_blocks)));
  }
}

// A few more blocks than a bitmap of the space map counts, so there are two of these.
class two_bitmaps_test : public testing::Test {
 protected:
  two_bitmaps_test() { memory_store::format(on_, sizeof(le64)); }

  memory_device on_{bytes{(blocks_per_bitmap + 10) * metadata_block_size}};
};

TEST_F(two_bitmaps_test, both_are_written_from_the_beginning) {
  memory_store store{on_};
  EXPECT_TRUE(store.sound_tree(sizeof(le64)).entries.empty());
}

TEST_F(two_bitmaps_test, each_counts_its_own_blocks) {
  memory_store store{on_};
  block_usage usage{on_.size()};
  collected_damage sink;
  progress watcher{true};
  usage.claim(superblock_location, structure::superblock);
  usage.claim(store.root(), structure::mappings);
  constexpr std::uint64_t nr_moving = 3; // the bitmaps, and their index
  while (store.transactions->nr_available() > nr_moving) {
    const auto added = value_of(store.transactions->add(array_block_type));
    EXPECT_FALSE(usage.claim(added.where(), structure::mappings));
  }
  ASSERT_TRUE(usage.is_used(blocks_per_bitmap)); // the second one's first
  ASSERT_THAT(store.commit(store.root(), 0), succeeds());
  check_space_map({on_, usage, sink, watcher}, store.space_map());
  EXPECT_EQ(sink.text(), "");
}

} // namespace
} // namespace dmcache
