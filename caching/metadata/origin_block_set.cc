#include "caching/metadata/origin_block_set.h"

#include <cstdlib>
#include <new>

#include <roaring/roaring.hh>
#include <roaring/roaring64map.hh>

namespace dmcache {
struct origin_block_set::sparse {
  Roaring64Map blocks;
};

void origin_block_set::release::operator()(std::uint64_t *words) const {
  std::free(words); // NOLINT(*-no-malloc)
}

// calloc, not a vector: pages of zeroes that nobody touches take no memory.
origin_block_set::origin_block_set()
    : dense_{static_cast<std::uint64_t *>(
          std::calloc(dense_bits / word_bits, sizeof(std::uint64_t)))}, // NOLINT(*-no-malloc)
      sparse_{std::make_unique<sparse>()} {
  if (!dense_) {
    throw std::bad_alloc{};
  }
}

origin_block_set::origin_block_set(origin_block_set &&) noexcept = default;
origin_block_set &origin_block_set::operator=(origin_block_set &&) noexcept = default;
origin_block_set::~origin_block_set() = default;

bool origin_block_set::insert_sparse(origin_block block) {
  return sparse_->blocks.addChecked(block.value());
}

bool origin_block_set::contains(origin_block block) const {
  if (block.value() >= dense_bits) {
    return sparse_->blocks.contains(block.value());
  }
  return (dense_.get()[block.value() / word_bits] >> block.value() % word_bits & 1) != 0;
}

} // namespace dmcache
