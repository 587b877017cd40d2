#include "caching/online-metadata/discard_set.h"

#include <algorithm>

#include "base/assert.h"

namespace dmcache {
namespace {

constexpr std::uint64_t max_blocks = std::uint64_t{1} << 14;
constexpr std::uint64_t word_bits = 64;

// As the kernel does: the last block isn't counted if it is not whole.
sectors size_for(sectors cache_block_size, sectors origin_size) {
  std::uint64_t size = cache_block_size.value();
  require(size != 0, "a cache block has some size");
  while (origin_size.value() / size > max_blocks) {
    size *= 2;
  }
  return sectors{size};
}

} // namespace

discard_set::discard_set(sectors cache_block_size, sectors origin_size)
    : block_size_{size_for(cache_block_size, origin_size)},
      nr_blocks_{divided_up(origin_size.value(), block_size_.value())},
      words_(divided_up(nr_blocks_, word_bits)) {}

void discard_set::set(std::uint64_t block) {
  require(block < nr_blocks_, "only what is of the origin can be discarded");
  nr_set_ += test(block) ? 0U : 1U;
  words_[block / word_bits] |= std::uint64_t{1} << block % word_bits;
}

void discard_set::clear(std::uint64_t block) {
  require(block < nr_blocks_, "only what is of the origin can be discarded");
  nr_set_ -= test(block) ? 1U : 0U;
  words_[block / word_bits] &= ~(std::uint64_t{1} << block % word_bits);
}

void discard_set::set_within(sectors begin, sectors end) {
  const std::uint64_t last = std::min(end.value() / block_size_.value(), nr_blocks_);
  for (std::uint64_t block = divided_up(begin.value(), block_size_.value()); block < last;
       ++block) {
    set(block);
  }
}

} // namespace dmcache
