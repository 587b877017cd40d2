// What a policy takes from the heap, and when.

#include <malloc.h>

#include <cstdlib>
#include <new>

#include <gtest/gtest.h>

#include "caching/policy/policy.h"

namespace {
std::size_t held = 0; // bytes
std::size_t nr_allocations = 0;

void *counted(void *memory) {
  if (memory != nullptr) {
    held += ::malloc_usable_size(memory);
    ++nr_allocations;
  }
  return memory;
}

void *counted_or_thrown(void *memory) {
  if (memory == nullptr) {
    throw std::bad_alloc{};
  }
  return counted(memory);
}

void give_back(void *memory) {
  held -= ::malloc_usable_size(memory);
  std::free(memory); // NOLINT(*-no-malloc)
}
} // namespace

// All kinds that a library of the release may use. Not inlined, for the compiler would see that new and
// delete are of different kinds.
[[gnu::noinline]] void *operator new(std::size_t size) {
  return counted_or_thrown(std::malloc(size)); // NOLINT(*-no-malloc)
}

[[gnu::noinline]] void *operator new(std::size_t size, const std::nothrow_t & /*tag*/) noexcept {
  return counted(std::malloc(size)); // NOLINT(*-no-malloc)
}

[[gnu::noinline]] void operator delete(void *memory) noexcept {
  give_back(memory);
}

[[gnu::noinline]] void operator delete(void *memory, std::size_t /*size*/) noexcept {
  give_back(memory); // NOLINT(*NewDelete): it is what frees
}

[[gnu::noinline]] void *operator new(std::size_t size, std::align_val_t alignment) {
  return counted_or_thrown(std::aligned_alloc(static_cast<std::size_t>(alignment), size));
}

[[gnu::noinline]] void operator delete(void *memory, std::align_val_t /*alignment*/) noexcept {
  give_back(memory);
}

[[gnu::noinline]] void operator delete(void *memory, std::size_t /*size*/,
                                       std::align_val_t /*alignment*/) noexcept {
  give_back(memory);
}

namespace dmcache {
namespace {

double bytes_a_cache_block(std::string_view name, std::uint64_t nr_origin_blocks) {
  constexpr std::uint64_t nr_cache_blocks = 1'000'000;
  const std::size_t before = held;
  const auto made = make_policy(name, {nr_cache_blocks, nr_origin_blocks, sectors{64}}).value();
  return static_cast<double>(held - before) / nr_cache_blocks;
}

TEST(policy_memory, of_smq_is_17_bytes_a_cache_block_at_most_whatever_the_origin) {
  for (const std::uint64_t nr_origin_blocks : {std::uint64_t{10'000'000}, std::uint64_t{1} << 48}) {
    const double each = bytes_a_cache_block("smq", nr_origin_blocks);
    RecordProperty("bytes_a_cache_block", fmt::format("{:.2f}", each));
    EXPECT_LT(each, 17);
    EXPECT_GT(each, 8); // or else nothing was measured
  }
}

TEST(policy_memory, of_sift_is_6_bytes_a_cache_block_at_most_whatever_the_origin) {
  for (const std::uint64_t nr_origin_blocks : {std::uint64_t{10'000'000}, std::uint64_t{1} << 48}) {
    const double each = bytes_a_cache_block("sift", nr_origin_blocks);
    RecordProperty("bytes_a_cache_block", fmt::format("{:.2f}", each));
    EXPECT_LT(each, 6);
    EXPECT_GT(each, 4); // or else nothing was measured
  }
}

class policy_memory_of : public testing::TestWithParam<const char *> {};

TEST_P(policy_memory_of, is_all_taken_at_once) {
  const auto made = make_policy(GetParam(), {2000, 100'000, sectors{64}}).value();
  const std::size_t before = nr_allocations;
  std::uint64_t nr_hits = 0;
  for (std::uint64_t i = 0; i < 100'000; ++i) {
    made->tick(i / 100);
    if (const auto block = made->miss(origin_block{i * i % 5003 * 16}, promotion::by_copy)) {
      made->promoted(*block, true);
      made->hit(*block);
      made->mark_dirty(*block);
      ++nr_hits;
    }
    if (const auto work = made->next_work(i % 2 == 0)) {
      made->completed(*work, true);
    }
  }
  EXPECT_GT(nr_hits, 2000);
  EXPECT_EQ(nr_allocations, before);
}

INSTANTIATE_TEST_SUITE_P(policies, policy_memory_of, testing::Values("sift", "smq"),
                         [](const auto &each) { return std::string{each.param}; });

} // namespace
} // namespace dmcache
