#include "persistent-data/array.h"

#include <random>

#include "base/testing/faulty_device.h"
#include "base/testing/matchers.h"
#include "persistent-data/testing/memory_store.h"

namespace dmcache {
namespace {

constexpr std::uint64_t device_blocks = 2000;

class array_test : public testing::TestWithParam<std::size_t> {
 protected:
  array_test() { memory_store::format(device_, sizeof(le64)); }

  memory_device device_{bytes{device_blocks * metadata_block_size}};
};

INSTANTIATE_TEST_SUITE_P(value_sizes, array_test, testing::Values(4, 8));

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
  memory_store store{on};
  array entries{*store.transactions, GetParam()};
  ASSERT_THAT(entries.load_tree(store.root()), succeeds());
  on.fail_reads(bytes{0}, device_.size());
  std::vector<std::uint64_t> expected;
  metadata_block root = store.root();
  for (int round = 0; round < 30; ++round) {
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
    ASSERT_THAT(store.commit(root, expected.size()), succeeds());
    ASSERT_EQ((memory_store{device_}.sound_array(GetParam())), expected);
  }
  ASSERT_THAT(entries.destroy(root), succeeds());
  ASSERT_THAT(store.commit(value_of(entries.create()), 0), succeeds());
  EXPECT_TRUE(memory_store{device_}.sound_array(GetParam()).empty());
}

TEST_P(array_test, a_block_rewritten_twice_in_a_transaction_stays_where_it_is) {
  memory_store store{device_};
  array entries{*store.transactions, GetParam()};
  const auto once = value_of(entries.rewrite_block(store.root(), 0, 3));
  const std::uint64_t before = store.transactions->nr_available();
  const auto twice = value_of(entries.rewrite_block(once.root, 0, 2));
  EXPECT_EQ(twice.values.data(), once.values.data());
  EXPECT_EQ(store.transactions->nr_available(), before);
  ASSERT_THAT(store.commit(twice.root, 2), succeeds());
  EXPECT_EQ(store.sound_array(GetParam()), (std::vector<std::uint64_t>{0, 0}));
}

} // namespace
} // namespace dmcache
