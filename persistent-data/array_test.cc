#include "persistent-data/array.h"

#include <random>

#include "base/testing/faulty_device.h"
#include "persistent-data/testing/memory_store.h"

namespace dmcache {
namespace {

constexpr std::uint64_t device_blocks = 2000;

class array_test : public testing::TestWithParam<std::size_t> {
 protected:
  array_test() { test_store::format(device_, sizeof(le64)); }

  memory_device device_{bytes{device_blocks * metadata_block_size}};
};

INSTANTIATE_TEST_SUITE_P(value_sizes, array_test, testing::Values(4, 8));

TEST_P(array_test, agrees_with_a_model) {
  std::mt19937_64 chance{GetParam()};
  test_store store{device_};
  array entries{*store.transactions, GetParam()};
  std::vector<std::uint64_t> expected;
  metadata_block root = store.root();
  for (int round = 0; round < 100; ++round) {
    const std::uint64_t size = round % 5 == 0 ? chance() % 200000 : chance() % 3000;
    const std::uint64_t value = chance() % 0x100000000;
    root = value_of(entries.resize(root, expected.size(), size, value));
    expected.resize(size, value);
    for (int step = 0; step < 300 && size > 0; ++step) {
      const std::uint64_t index = chance() % size;
      EXPECT_EQ(value_of(entries.get(root, index)), expected[index]);
      expected[index] = chance() % 0x100000000;
      root = value_of(entries.set(root, index, expected[index]));
    }
    ASSERT_TRUE(store.commit(root, size));
    ASSERT_EQ(store.sound_array(GetParam()), expected);
  }
  ASSERT_TRUE(entries.destroy(root));
  ASSERT_TRUE(store.commit(value_of(entries.create()), 0));
  EXPECT_TRUE(store.sound_array(GetParam()).empty());
}

TEST_P(array_test, there_is_no_entry_beyond_the_end) {
  test_store store{device_};
  array entries{*store.transactions, GetParam()};
  const metadata_block root = value_of(entries.resize(store.root(), 0, 10, 7));
  EXPECT_EQ(value_of(entries.get(root, 9)), 7U);
  EXPECT_FALSE(entries.get(root, 10));
  EXPECT_FALSE(entries.set(root, 10, 1));
  EXPECT_FALSE(entries.get(root, 5000));
}

TEST_P(array_test, setting_what_is_there_already_changes_nothing) {
  test_store store{device_};
  array entries{*store.transactions, GetParam()};
  const metadata_block root = value_of(entries.resize(store.root(), 0, 10, 7));
  ASSERT_TRUE(store.commit(root, 10));
  const std::uint64_t before = store.transactions->nr_available();
  EXPECT_EQ(value_of(entries.set(root, 3, 7)), root);
  EXPECT_EQ(store.transactions->nr_available(), before);
}

// Values by block of what is to be, of which the last may be short.
void store_part(std::span<std::byte> values, std::size_t value_size,
                std::span<const std::uint64_t> wanted) {
  ASSERT_EQ(values.size(), wanted.size() * value_size);
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const le64 stored = wanted[i];
    std::memcpy(values.data() + i * value_size, &stored, value_size);
  }
}

TEST_P(array_test, whole_blocks_are_written_without_reading_anything) {
  std::mt19937_64 chance{GetParam()};
  const std::uint64_t per_block = array_max_entries(GetParam());
  faulty_device on{device_};
  test_store store{on};
  store.transactions = value_of(transaction_manager::open(on, store.space_map(), 0));
  array entries{*store.transactions, GetParam()};
  ASSERT_TRUE(entries.load_tree(store.root()));
  on.fail_reads(bytes{0}, device_.size());
  std::vector<std::uint64_t> expected;
  metadata_block root = store.root();
  for (int round = 0; round < 100; ++round) {
    const std::uint64_t nr_parts = chance() % 300;
    root = value_of(entries.cut(root, nr_parts));
    expected.resize(std::min(expected.size(), nr_parts * per_block));
    for (std::uint64_t part = 0; part < nr_parts; ++part) {
      const bool is_last = part + 1 == nr_parts;
      const std::uint64_t end =
          is_last ? part * per_block + 1 + chance() % per_block : (part + 1) * per_block;
      if (!is_last && expected.size() >= end && chance() % 2 == 0) {
        continue;
      }
      expected.resize(is_last ? end : std::max(end, expected.size()));
      const auto wanted = std::span{expected}.subspan(part * per_block, end - part * per_block);
      std::ranges::generate(wanted, [&] { return chance() % 0x100000000; });
      const auto made = value_of(entries.rewrite_block(root, part, wanted.size()));
      root = made.root;
      store_part(made.values, GetParam(), wanted);
    }
    ASSERT_TRUE(store.commit(root, expected.size()));
    ASSERT_EQ((test_store{device_}.sound_array(GetParam())), expected);
  }
  ASSERT_TRUE(entries.destroy(root));
  ASSERT_TRUE(store.commit(value_of(entries.create()), 0));
  EXPECT_TRUE(test_store{device_}.sound_array(GetParam()).empty());
}

TEST_P(array_test, a_block_rewritten_twice_in_a_transaction_stays_where_it_is) {
  test_store store{device_};
  array entries{*store.transactions, GetParam()};
  const auto once = value_of(entries.rewrite_block(store.root(), 0, 3));
  const std::uint64_t before = store.transactions->nr_available();
  const auto twice = value_of(entries.rewrite_block(once.root, 0, 2));
  EXPECT_EQ(twice.values.data(), once.values.data());
  EXPECT_EQ(store.transactions->nr_available(), before);
  ASSERT_TRUE(store.commit(twice.root, 2));
  EXPECT_EQ(store.sound_array(GetParam()), (std::vector<std::uint64_t>{0, 0}));
}

TEST(bitset_test, agrees_with_a_model) {
  memory_device on{bytes{device_blocks * metadata_block_size}};
  test_store::format(on, sizeof(le64));
  std::mt19937_64 chance{1};
  test_store store{on};
  bitset bits{*store.transactions};
  std::vector<bool> expected;
  metadata_block root = store.root();
  for (int round = 0; round < 100; ++round) {
    const std::uint64_t size = chance() % 100000;
    const bool value = chance() % 2 == 0;
    root = value_of(bits.resize(root, expected.size(), size, value));
    expected.resize(size, value);
    for (int step = 0; step < 300 && size > 0; ++step) {
      const std::uint64_t bit = chance() % size;
      EXPECT_EQ(value_of(bits.test(root, bit)), expected[bit]);
      expected[bit] = chance() % 2 == 0;
      root = value_of(bits.set(root, bit, expected[bit]));
    }
    const std::uint64_t nr_words = (size + bits_per_word - 1) / bits_per_word;
    std::vector<std::uint64_t> words(nr_words);
    for (std::uint64_t bit = 0; bit < size; ++bit) {
      words[bit / bits_per_word] |= std::uint64_t{expected[bit]} << bit % bits_per_word;
    }
    ASSERT_TRUE(store.commit(root, nr_words));
    ASSERT_EQ(store.sound_array(sizeof(le64)), words); // zero beyond the last bit
  }
}

} // namespace
} // namespace dmcache
