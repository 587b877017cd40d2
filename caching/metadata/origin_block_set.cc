#include "caching/metadata/origin_block_set.h"

#include <sys/mman.h>

#include <new>

#include <roaring/roaring.hh>
#include <roaring/roaring64map.hh>

namespace dmcache {
namespace {

// From so many on, what a large page saves is more than it takes to fill one with zeroes.
constexpr std::uint64_t many_blocks = 1 << 14;

} // namespace

struct origin_block_set::sparse {
  Roaring64Map blocks;
};

void origin_block_set::release::operator()(std::uint64_t *words) const {
  ::munmap(words, dense_size);
}

// Anonymous memory, not a vector: pages of zeroes that nobody touches take no memory. Origin blocks
// come in any order, so that with small pages most of many insertions would miss the TLB.
origin_block_set::origin_block_set(std::uint64_t nr_expected)
    : sparse_{std::make_unique<sparse>()} {
  void *memory =
      ::mmap(nullptr, dense_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) { // NOLINT(*-cstyle-cast): the macro's own
    throw std::bad_alloc{};
  }
  dense_.reset(static_cast<std::uint64_t *>(memory));
  if (nr_expected >= many_blocks) {
    ::madvise(memory, dense_size, MADV_HUGEPAGE); // a hint: without it we are only slower
  }
}

origin_block_set::origin_block_set(origin_block_set &&) noexcept = default;
origin_block_set &origin_block_set::operator=(origin_block_set &&) noexcept = default;
origin_block_set::~origin_block_set() = default;

bool origin_block_set::insert_sparse(origin_block block) {
  return sparse_->blocks.addChecked(block.value());
}

bool origin_block_set::contains(origin_block block) const {
  if (block >= quick_limit) {
    return sparse_->blocks.contains(block.value());
  }
  return (dense_.get()[block.value() / word_bits] >> block.value() % word_bits & 1) != 0;
}

} // namespace dmcache
